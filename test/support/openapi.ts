import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

/** `/openapi.json`, as far as tests look into it. */
export interface OpenApiDocument {
  readonly servers: readonly { url: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly webhooks: Readonly<Record<string, { post: Operation }>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Response>>;
  };
}

export interface Operation {
  readonly operationId: string;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly schema: Schema;
  }[];
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, Response>>;
}

interface Response {
  readonly $ref?: string;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly content?: Content;
}
type Content = Readonly<
  Record<string, { readonly schema: Schema; readonly examples?: Record<string, { value: unknown }> }>
>;
// biome-ignore lint/suspicious/noExplicitAny: JSON Schema, which tests look into as they need it
export type Schema = any;

export async function readOpenApi(url: string): Promise<OpenApiDocument> {
  const response = await fetch(`${url}/openapi.json`);
  return (await response.json()) as OpenApiDocument;
}

/** What a document says of answers and bodies, as checks that list what is wrong. */
export function checksOf(document: OpenApiDocument) {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addSchema(document, 'openapi.json');
  const faultsOf = (pointer: string, value: unknown): string[] => {
    const validate = ajv.getSchema(`openapi.json#${pointer}`);
    if (!validate) return [`there is nothing at ${pointer}`];
    return validate(value) ? [] : (validate.errors ?? []).map((e) => `${e.instancePath} ${e.message}`);
  };
  const inPointer = (part: string) => part.replaceAll('~', '~0').replaceAll('/', '~1');

  return {
    /** @param template the path as the document has it */
    faultsOfAnswer(
      method: string,
      template: string,
      status: number,
      headers: Headers,
      body: unknown,
    ): string[] {
      const pointer = `/paths/${inPointer(template)}/${method.toLowerCase()}/responses/${status}`;
      const described = document.paths[template]?.[method.toLowerCase()]?.responses[status];
      if (!described) return [`${method} ${template} has no answer ${status}`];
      const name = described.$ref?.split('/').at(-1);
      const response = name ? document.components.responses[name]! : described;
      const missing = Object.keys(response.headers ?? {}).filter((header) => !headers.has(header));
      const at = name ? `/components/responses/${name}` : pointer;
      return [
        ...missing.map((header) => `the header ${header} is missing`),
        ...(response.content?.['application/json']
          ? faultsOf(`${at}/content/application~1json/schema`, body)
          : []),
      ];
    },
    faultsOfComponent: (name: string, value: unknown) => faultsOf(`/components/schemas/${name}`, value),
  };
}
