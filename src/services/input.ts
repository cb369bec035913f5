import { z } from 'zod';
import { type ErrorDetail, invalidRequest } from '../errors.js';

/** The deepest nesting of a JSON value that is stored. */
const MAX_JSON_DEPTH = 64;
const MAX_FAULTS_OF_A_VALUE = 20;

type Path = (string | number)[];
interface Fault {
  readonly path: Path;
  readonly message: string;
}

/** A rule over several members. It sees the raw input, also when single members are faulty. */
export type Check = (input: Record<string, unknown>) => readonly ErrorDetail[];

/**
 * Parses a caller's input, reporting every fault at once.
 * @throws ParleyError `invalid_request` with one detail per fault, paths as `content.attachments[0].data`.
 */
export function parseInput<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  ...checks: Check[]
): z.output<Schema> {
  const body = input ?? {};
  const parsed = schema.safeParse(body, { reportInput: true });
  const faults = [
    ...(parsed.error?.issues ?? []).map(toDetail),
    ...(isObject(body) ? checks.flatMap((check) => check(body)) : []),
  ];
  if (parsed.success && faults.length === 0) return parsed.data;
  throw invalidRequest(faults);
}

export function toDetail(issue: z.core.$ZodIssue): ErrorDetail {
  return { field: formatPath(issue.path), issue: describe(issue) };
}

/** `['content', 'cc', 0]` as `content.cc[0]`; the whole body is `body`. */
export function formatPath(path: readonly PropertyKey[]): string {
  const text = path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '');
  return text === '' ? 'body' : text;
}

function describe(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') {
    return issue.input === undefined ? 'is required' : `must be ${withArticle(issue.expected)}`;
  }
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.join(', ')}`;
  return issue.message;
}

const withArticle = (type: string) =>
  type === 'int' ? 'a whole number' : `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type}`;

/** Text that Postgres can store (no U+0000, no lone surrogate), of a length counted in UTF-16 units. */
export const text = (minimum: number, maximum: number) =>
  z
    .string()
    .refine((value) => value.length >= minimum && value.length <= maximum, {
      error:
        minimum > 0
          ? `must have ${minimum} to ${maximum} characters`
          : `must have at most ${maximum} characters`,
      abort: true,
    })
    .superRefine((value, context) => {
      const message = textFault(value);
      if (message) context.addIssue({ code: 'custom', message });
    });

/** A JSON object that can be stored and given back as it was. `maxBytes` counts its compact UTF-8 text. */
export const jsonObject = (maxBytes?: number) =>
  z.custom<Record<string, unknown>>().superRefine((value, context) => {
    if (value === undefined) return context.addIssue({ code: 'custom', message: 'is required' });
    if (!isObject(value)) return context.addIssue({ code: 'custom', message: 'must be a JSON object' });
    const faults = storageFaults(value);
    for (const { path, message } of faults) context.addIssue({ code: 'custom', path, message });
    if (
      maxBytes !== undefined &&
      faults.length === 0 &&
      Buffer.byteLength(JSON.stringify(value)) > maxBytes
    ) {
      context.addIssue({ code: 'custom', message: `must have at most ${maxBytes} bytes as JSON` });
    }
  });

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Why a JSON value cannot be stored: too deep, text that Postgres refuses, a number without a finite value. */
function storageFaults(root: object): Fault[] {
  const faults: Fault[] = [];
  const stack: { value: unknown; path: Path }[] = [{ value: root, path: [] }];
  for (let next = stack.pop(); next && faults.length < MAX_FAULTS_OF_A_VALUE; next = stack.pop()) {
    const { value, path } = next;
    if (typeof value === 'string') {
      const message = textFault(value);
      if (message) faults.push({ path, message });
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) faults.push({ path, message: 'must be a finite number' });
    } else if (typeof value === 'object' && value !== null) {
      if (path.length >= MAX_JSON_DEPTH) {
        faults.push({
          path: path.slice(0, 3),
          message: `must not be nested deeper than ${MAX_JSON_DEPTH} levels`,
        });
        continue;
      }
      const isArray = Array.isArray(value);
      for (const [key, member] of Object.entries(value)) {
        const message = isArray ? null : textFault(key);
        if (message) faults.push({ path, message: `has a member whose name ${message}` });
        stack.push({ value: member, path: [...path, isArray ? Number(key) : key] });
      }
    }
  }
  return faults;
}

function textFault(value: string): string | null {
  if (value.includes('\0')) return 'must not contain the character U+0000';
  return value.isWellFormed() ? null : 'must not contain a lone surrogate';
}
