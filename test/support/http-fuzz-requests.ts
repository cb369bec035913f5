import { METHODS } from 'node:http';
import fc from 'fast-check';
import { REST } from './app.js';
import { anyText, mostly, nearly, oddNumber, oddText, oddValue, rawValue } from './odd-values.js';
import type { OpenApiDocument, Operation, Schema } from './openapi.js';

/** A request as it is generated. `§noun:number§` in it stands for one of the ids or cursors that are there by then. */
export interface FuzzRequest {
  readonly method: string;
  /** As the document has it. */
  readonly template: string;
  /** Behind the host. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer | null;
}

// Most of what is generated is nearly right: what is wholly wrong is refused at the door.

function bodyOf({ requestBody }: Operation, document: OpenApiDocument): fc.Arbitrary<string | Buffer | null> {
  const anything = fc.oneof(
    { weight: 5, arbitrary: fc.constant(null) },
    fc.constant('§large:11§'),
    fc.json(),
    rawValue,
    oddText,
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  );
  const described = requestBody?.content['application/json'];
  if (!described) return mostly<string | Buffer | null>(fc.constant(null), 90, anything);
  const ids = fc.nat(1_000).map((number) => `§thread:${number}§`);
  const members: Record<string, Schema> = resolved(described.schema, document).properties ?? {};
  const extras: Record<string, fc.Arbitrary<unknown>> = Object.fromEntries(
    Object.keys(members).map((name) => [name, oddValue]),
  );
  if ('idempotencyKey' in members) extras.idempotencyKey = fc.constantFrom('key-1', 'key-2', '', 5);
  if ('threadId' in members) extras.threadId = mostly<unknown>(ids, 80, oddValue);
  if ('attachments' in members) extras.attachments = oddValue;
  const examples = Object.values(described.examples ?? {}).map(({ value }) => value);
  const nearlyRight = fc.oneof(...examples.map((example) => nearly(example, extras)));
  const cutOff = nearlyRight.chain((text) => fc.nat(text.length).map((at) => text.slice(0, at)));
  return mostly<string | Buffer | null>(nearlyRight, 90, anything, cutOff);
}

const resolved = (schema: Schema, document: OpenApiDocument): Schema =>
  schema.$ref ? document.components.schemas[schema.$ref.split('/').at(-1)] : schema;

const encode = (text: string) => encodeURIComponent(text.toWellFormed());
const brokenPercent = fc.constantFrom('%', '%zz', '%ff', '%ED%A0%80', '%00', '%2F', '%2e%2e%2f', '%C3%28');

function parameterOf(name: string, schema: Schema): fc.Arbitrary<string> {
  const cursor = fc.nat(100).map((number) => `§cursor:${number}§`);
  const usual: fc.Arbitrary<string> = schema.enum
    ? fc.constantFrom(...schema.enum.map(String))
    : schema.type === 'integer'
      ? fc.oneof(
          fc
            .integer({ min: schema.minimum, max: Math.min(schema.maximum ?? 9, schema.minimum + 9) })
            .map(String),
          fc.constantFrom(-1, 0, 1, 2).map((by) => String((schema.maximum ?? 100) + by)),
        )
      : /^(after|Last-Event-ID)$/.test(name)
        ? mostly(cursor, 80, fc.constant('start'))
        : name === 'types'
          ? fc.constantFrom('message.created', 'thread.updated,message.read', 'message.created,', ',')
          : name === 'Range'
            ? fc.constantFrom(
                'bytes=0-3',
                'bytes=2-',
                'bytes=-1',
                'bytes=9-2',
                'bytes=99999-',
                'bytes=0-1,3-4',
                'x',
              )
            : fc.constantFrom('workflow_123', 'participant_123', '§thread:1§', 'x');
  return mostly(usual, 80, oddText, oddNumber.map(String));
}

function pathOf(template: string, operation: Operation): fc.Arbitrary<string> {
  const nouns: Record<string, string> = {
    threadId: 'thread',
    messageId: 'message',
    attachmentId: 'attachment',
    id: 'webhook',
  };
  const id = (parameter: string) =>
    mostly(
      fc.nat(1_000).map((number) => `§${nouns[parameter]}:${number}§`),
      85,
      oddText.map((text) => encode(text.slice(0, 3_000))),
      brokenPercent,
    );
  const segments = template.split(/(\{\w+\})/).map((part) => {
    const parameter = /^\{(\w+)\}$/.exec(part)?.[1];
    return parameter
      ? id(parameter)
      : mostly(
          fc.constant(part),
          98,
          fc.constantFrom(`${part}/`, part.toUpperCase(), `${part}x`, `/${part}`),
        );
  });
  const query = (operation.parameters ?? []).filter((parameter) => parameter.in === 'query');
  const pair = fc.oneof(
    ...query.map(({ name, schema }) =>
      fc.tuple(
        fc.constant(name),
        parameterOf(name, schema).map((value) =>
          value.includes('§') ? value : encode(value.slice(0, 5_000)),
        ),
      ),
    ),
    fc.tuple(
      anyText.map(encode),
      mostly(
        oddText.map((text) => encode(text.slice(0, 200))),
        50,
        brokenPercent,
      ),
    ),
  );
  return fc
    .tuple(fc.tuple(...segments), fc.array(pair, { maxLength: query.length > 0 ? 4 : 1 }))
    .map(([parts, pairs]) => {
      const search = pairs.map(([name, value]) => `${name}=${value}`).join('&');
      return parts.join('') + (search && `?${search}`);
    });
}

/** A line that a header may be. */
const line = fc
  .oneof(
    oddText,
    fc.nat(3_000).map((length) => 'h'.repeat(length)),
  )
  .map((text) => text.slice(0, 4_000).replace(/[^\t\x20-\x7e\x80-\xff]/g, '?'));

function headersOf({ parameters = [], requestBody }: Operation): fc.Arbitrary<Record<string, string>> {
  const credential = mostly<Record<string, string>>(
    fc.constant({ authorization: 'Bearer §key§' }),
    95,
    fc.constant({ 'x-api-key': '§key§' }),
    fc.constant({}),
    line.map((authorization) => ({ authorization })),
    line.map((key) => ({ 'x-api-key': key })),
    fc.constant({ authorization: 'Bearer parley_nobody', 'x-api-key': '§key§' }),
  );
  const type = mostly(
    fc.constant('application/json'),
    97,
    fc.constantFrom(
      'application/json; charset=utf-16',
      'text/plain',
      'application/xml',
      'APPLICATION/JSON',
      '',
    ),
    line,
  );
  const own = parameters
    .filter((parameter) => parameter.in === 'header')
    .map(({ name, schema }) =>
      fc.tuple(
        fc.constant(name),
        (name === 'Idempotency-Key'
          ? fc.constantFrom('key-1', 'key-2', 'key-3')
          : parameterOf(name, schema)
        ).map((value) => value.slice(0, 4_000).replace(/[^\x20-\x7e§]/g, '?')),
      ),
    );
  const odd = fc.tuple(
    fc.constantFrom(
      'x-request-id',
      'accept',
      'content-encoding',
      'if-none-match',
      'if-match',
      'origin',
      'cookie',
      'x-forwarded-for',
      'idempotency-key',
      'last-event-id',
      'range',
      'accept-encoding',
      'x-http-method-override',
    ),
    line,
  );
  const perhaps = <T>(percent: number, arbitrary: fc.Arbitrary<T>) =>
    mostly<T | null>(arbitrary, percent, fc.constant(null));
  return fc
    .tuple(credential, type, ...own.map((one) => perhaps(50, one)), perhaps(20, odd))
    .map(([auth, contentType, ...pairs]) => ({
      ...auth,
      ...(requestBody && { 'content-type': contentType }),
      ...Object.fromEntries(pairs.filter((pair) => pair !== null)),
    }));
}

const oddMethods = METHODS.filter((method) => method !== 'CONNECT');

/** Requests to every operation of a document, and a few to nowhere. */
export function requestTo(document: OpenApiDocument): fc.Arbitrary<FuzzRequest> {
  const operations = Object.entries(document.paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      template,
      operation,
    })),
  );
  const toOperation = operations.map(({ method, template, operation }) =>
    fc.record({
      method: mostly(fc.constant(method), 97, fc.constantFrom(...oddMethods)),
      template: fc.constant(template),
      path: pathOf(template, operation),
      headers: headersOf(operation),
      body: bodyOf(operation, document),
    }),
  );
  const toNowhere = fc.record({
    method: fc.constantFrom(...oddMethods),
    template: fc.constant(''),
    path: oddText
      .map((text) => `/${encode(text.slice(0, 2_000))}`)
      .map((path) => (path.length % 2 ? path : REST + path)),
    headers: fc.constant({}),
    body: fc.constant(null),
  });
  return fc.oneof(...toOperation, toNowhere);
}
