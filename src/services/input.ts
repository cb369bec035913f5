import { z } from 'zod';
import { type ErrorDetail, invalidRequest } from '../errors.js';
import type { Actor } from './actor.js';

/** The deepest nesting of a JSON value that is stored. */
const MAX_JSON_DEPTH = 64;
/** How many members and items a JSON value has at most, all levels together: each is work that others wait for. */
const MAX_JSON_VALUES = 200_000;
/** More faults of one value are not looked for: an answer must not outgrow the request that it is about. */
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
    ...(parsed.error?.issues ?? []).flatMap(toDetails),
    ...(isObject(body) ? checks.flatMap((check) => check(body)) : []),
  ];
  if (parsed.success && faults.length === 0) return parsed.data;
  throw invalidRequest(faults);
}

/** An object with several unknown members is one issue to zod; a caller gets a detail for each of them. */
function toDetails(issue: z.core.$ZodIssue): ErrorDetail[] {
  if (issue.code !== 'unrecognized_keys') return [toDetail(issue)];
  return issue.keys
    .slice(0, MAX_FAULTS_OF_A_VALUE)
    .map((key) => ({ field: formatPath([...issue.path, key]), issue: 'cannot be set' }));
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
      if (message) context.addIssue({ code: 'custom', message, continue: false });
    })
    .meta({ ...(minimum > 0 && { minLength: minimum }), maxLength: maximum });

/** A moment that Postgres and JavaScript write the same way: a year of four digits, and not the year 0. */
export const instant = () =>
  z.date().refine((date) => isStorable(date), { error: 'must lie in the years 0001 to 9999', abort: true });

const isStorable = (date: Date) => date.getUTCFullYear() >= 1 && date.getUTCFullYear() <= 9_999;

/**
 * A list whose items are checked one by one without building anything for them: a body may hold millions.
 * @param issueOf what is wrong with an item, or null
 */
export const listOf = <Item>(issueOf: (item: unknown) => string | null) =>
  z
    .custom<Item[]>()
    .superRefine((value, context) => {
      if (value === undefined)
        return context.addIssue({ code: 'custom', message: 'is required', continue: false });
      if (!Array.isArray(value)) {
        return context.addIssue({ code: 'custom', message: 'must be an array', continue: false });
      }
      let faults = 0;
      for (let index = 0; index < value.length && faults < MAX_FAULTS_OF_A_VALUE; index++) {
        const message = issueOf(value[index]);
        if (message === null) continue;
        faults++;
        context.addIssue({ code: 'custom', path: [index], message, continue: false });
      }
    })
    .meta({ type: 'array' });

/** A non-empty list of some of these words, each kept once. */
export const listOfSome = <Word extends string>(words: readonly Word[], missing: string) => {
  const issue = `must be one of ${words.join(', ')}`;
  return listOf<Word>((item) => (words.includes(item as Word) ? null : issue))
    .refine((items) => items.length > 0, missing)
    .meta({ items: { type: 'string', enum: words }, minItems: 1 })
    .transform((items) => [...new Set(items)]);
};

/** A JSON object that can be stored and given back as it was. `maxBytes` counts its compact UTF-8 text. */
export const jsonObject = (maxBytes?: number) =>
  z
    .custom<Record<string, unknown>>()
    .superRefine((value, context) => {
      const refuse = (message: string, path: Path = []) =>
        context.addIssue({ code: 'custom', path, message, continue: false });
      if (value === undefined) return refuse('is required');
      if (!isObject(value)) return refuse('must be a JSON object');
      const faults = storageFaults(value);
      for (const { path, message } of faults) refuse(message, path);
      if (
        maxBytes !== undefined &&
        faults.length === 0 &&
        Buffer.byteLength(JSON.stringify(value)) > maxBytes
      ) {
        refuse(`must have at most ${maxBytes} bytes as JSON`);
      }
    })
    .meta({ type: 'object', additionalProperties: true });

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** An object or array on the way down to the value that is being looked at. */
interface Level {
  readonly value: Readonly<Record<string | number, unknown>>;
  /** Null for an array. */
  readonly keys: readonly string[] | null;
  readonly length: number;
  next: number;
}

const levelOf = (value: object): Level => {
  const keys = Array.isArray(value) ? null : Object.keys(value);
  return {
    value: value as Level['value'],
    keys,
    length: keys?.length ?? (value as unknown[]).length,
    next: 0,
  };
};

/**
 * Why a JSON value cannot be stored: too deep, too many values, text that Postgres refuses, a number without a
 * finite value.
 * It remembers nothing but the way down, because a body may hold millions of values.
 */
function storageFaults(root: object): Fault[] {
  const faults: Fault[] = [];
  const way = [levelOf(root)];
  let values = 0;
  const path = () => way.map(({ keys, next }) => (keys ? (keys[next - 1] ?? '') : next - 1));
  for (let level = way.at(-1); level && faults.length < MAX_FAULTS_OF_A_VALUE; level = way.at(-1)) {
    if (level.next >= level.length) {
      way.pop();
      continue;
    }
    const key = level.keys ? (level.keys[level.next] ?? '') : level.next;
    level.next++;
    if (++values > MAX_JSON_VALUES) {
      return [{ path: [], message: `must not have more than ${MAX_JSON_VALUES} members and items` }];
    }
    const keyFault = typeof key === 'string' ? textFault(key) : null;
    if (keyFault) faults.push({ path: path().slice(0, -1), message: `has a member whose name ${keyFault}` });
    const value = level.value[key];
    if (typeof value === 'object' && value !== null) {
      if (way.length < MAX_JSON_DEPTH) way.push(levelOf(value));
      else
        faults.push({
          path: path().slice(0, 3),
          message: `must not be nested deeper than ${MAX_JSON_DEPTH} levels`,
        });
      continue;
    }
    const fault = valueFault(value);
    if (fault) faults.push({ path: path(), message: fault });
  }
  return faults;
}

function valueFault(value: unknown): string | null {
  if (typeof value === 'string') return textFault(value);
  return typeof value === 'number' && !Number.isFinite(value) ? 'must be a finite number' : null;
}

function textFault(value: string): string | null {
  if (value.includes('\0')) return 'must not contain the character U+0000';
  return value.isWellFormed() ? null : 'must not contain a lone surrogate';
}

/** The tenant is taken from the credential; a body may only repeat it. */
export function tenantFault(actor: Actor): Check {
  return ({ tenantId }) =>
    tenantId === undefined || tenantId === actor.tenantId
      ? []
      : [{ field: 'tenantId', issue: "differs from the credential's tenant" }];
}
