import { z } from 'zod';
import { examples } from './examples.js';

export type Json = Record<string, unknown>;

export const nameOf = (schema: z.ZodType) => schema.meta()?.id;
export const descriptionOf = (schema: z.ZodType) => schema.meta()?.description ?? '';

export function jsonContent(schema: z.ZodType): Json {
  const name = nameOf(schema);
  const given = Object.entries(examples[name ?? ''] ?? {});
  return {
    'application/json': {
      schema: name ? { $ref: `#/$defs/${name}` } : convert(schema),
      ...(given.length > 0 && {
        examples: Object.fromEntries(given.map(([key, value]) => [key, { value }])),
      }),
    },
  };
}

/** The schemas that have a name, also those inside of others. */
export const componentsOf = (named: readonly z.ZodType[], io: 'input' | 'output') =>
  z.toJSONSchema(z.union(named), conversion(io)).$defs;

export function convert(schema: z.ZodType): Json {
  const { $schema: _, $defs: __, ...json } = z.toJSONSchema(schema, conversion('output'));
  return json;
}

/** What zod writes, in the form that reads best. */
export const conversion = (io: 'input' | 'output') =>
  ({
    io,
    unrepresentable: 'any',
    override({ jsonSchema: json }) {
      delete json.propertyNames;
      if (json.maximum === Number.MAX_SAFE_INTEGER) delete json.maximum;
      const [given, none, ...others] = json.anyOf ?? [];
      if (typeof given?.type !== 'string' || none?.type !== 'null' || others.length > 0) return;
      // `string or null` as one type keeps the description at the member.
      delete json.anyOf;
      Object.assign(json, given, {
        type: [given.type, 'null'],
        ...(given.enum && { enum: [...given.enum, null] }),
      });
    },
  }) satisfies z.core.ToJSONSchemaParams;
