import { z } from 'zod';
import { errorAnswer, errorStatuses } from './error-answers.js';
import { examples } from './examples.js';
import { type AnswerHeader, requestHeaders } from './headers.js';
import { conversion, descriptionOf, type Json, jsonContent, nameOf } from './openapi-schemas.js';
import type { RestRoute } from './route.js';

const pathParameters: Record<string, string> = {
  threadId: 'The id of the thread.',
  messageId: 'The id of the message.',
  attachmentId: 'The id of the attachment.',
  id: 'The id of the webhook.',
};

/** What the document says of a route. */
export function operationOf(route: RestRoute): Json {
  const { tag, operationId, summary, description, scope, path, query, body, headers, errors = [] } = route;
  const proofs = [{ bearer: [scope] }, { apiKey: [scope] }, ...(route.actorWithoutKey ? [{}] : [])];
  const parameters = [
    ...[...path.matchAll(/:(\w+)/g)].map(([, name = '']) => ({
      name,
      in: 'path',
      required: true,
      description: pathParameters[name],
      schema: { type: 'string' },
    })),
    ...(query ? queryParameters(query, route.actorWithoutKey === undefined) : []),
    ...(headers?.request ?? []).map((name) => ({ name, in: 'header', ...requestHeaders[name] })),
  ];
  return {
    tags: [tag],
    operationId,
    summary,
    description: [description, `Scope: \`${scope}\`.`].filter(Boolean).join('\n\n'),
    security: proofs,
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: { required: true, content: jsonContent(body) } }),
    responses: { ...successOf(route), ...errorResponses([400, 401, 403, ...errors, 429, 500]) },
  };
}

/** @param canBeRequired false where a key stands for all of them */
function queryParameters(query: z.ZodObject, canBeRequired: boolean) {
  const { properties = {}, required = [] } = z.toJSONSchema(query, conversion('input'));
  return Object.entries(properties).map(([name, property]) => {
    const { description, examples: [example] = [], ...schema } = property as z.core.JSONSchema.BaseSchema;
    const fallback = query.shape[name]?.safeParse(undefined).data;
    return {
      name,
      in: 'query',
      ...(canBeRequired && required.includes(name) && { required: true }),
      description,
      schema: { ...schema, ...(fallback !== undefined && { default: fallback }) },
      ...(example !== undefined && { example }),
    };
  });
}

function successOf({ answer, headers }: RestRoute): Json {
  const answers = isSchema(answer)
    ? { 200: { description: descriptionOf(answer), headers: headers?.answer, content: jsonContent(answer) } }
    : answer;
  return Object.fromEntries(
    Object.entries(answers).map(([status, { headers: names = [], ...rest }]) => [
      status,
      { ...rest, headers: headersOf(names) },
    ]),
  );
}

/** An error of a status: the envelope, with the codes that this status has. */
export function errorResponse(status: number): Json {
  const { description, codes, headers = [] } = errorStatuses[status]!;
  const [[code, message]] = Object.entries(codes) as [[string, string]];
  const schema = {
    $ref: `#/$defs/${nameOf(errorAnswer)}`,
    properties: { error: { properties: { code: { enum: Object.keys(codes) } } } },
  };
  const shown = status === 400 ? examples.ErrorAnswer?.documented : { error: { code, message } };
  return {
    description,
    headers: headersOf(headers),
    content: { 'application/json': { schema, example: shown } },
  };
}

const errorResponses = (statuses: readonly number[]): Json =>
  Object.fromEntries(statuses.map((status) => [status, { $ref: `#/components/responses/Error${status}` }]));

const headersOf = (names: readonly AnswerHeader[]): Json =>
  Object.fromEntries(
    (['X-Request-Id', ...names] as const).map((name) => [name, { $ref: `#/components/headers/${name}` }]),
  );

export const isSchema = (answer: RestRoute['answer']): answer is z.ZodType => answer instanceof z.ZodType;
