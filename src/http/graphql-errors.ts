import { GraphQLError, type GraphQLFormattedError } from 'graphql';
import { type ErrorDetail, ParleyError } from '../errors.js';
import type { Context } from '../services/context.js';
import { toPublicError } from './faults.js';
import { RateLimited } from './rate-limit.js';

const graphqlCodes: Record<ParleyError['code'], string> = {
  invalid_request: 'BAD_USER_INPUT',
  cursor_expired: 'CURSOR_EXPIRED',
  unauthorized: 'UNAUTHENTICATED',
  forbidden: 'FORBIDDEN',
  not_found: 'NOT_FOUND',
  method_not_allowed: 'BAD_REQUEST',
  conflict: 'CONFLICT',
  payload_too_large: 'PAYLOAD_TOO_LARGE',
  rate_limited: 'RATE_LIMITED',
  internal_error: 'INTERNAL_SERVER_ERROR',
};

/** A caller's error as GraphQL has it, with `extensions.code` and `extensions.details`. */
export function toGraphQLError(error: ParleyError): GraphQLError {
  const { code, message, details } = error;
  return new GraphQLError(message, {
    originalError: error,
    extensions: {
      code: graphqlCodes[code],
      ...(details.length > 0 && { details }),
      ...(error instanceof RateLimited && { retryAfterSeconds: error.allowance.resetSeconds }),
    },
  });
}

/** A copy of GraphQL's own error with a code, as Apollo gives it, and with details where there are any. */
export function withCode(error: GraphQLError, code: string, detail?: ErrorDetail | null): GraphQLError {
  const { message, nodes, source, positions, path, originalError, extensions } = error;
  return new GraphQLError(message, {
    nodes,
    source,
    positions,
    path,
    originalError,
    extensions: { code, ...(detail && { details: [detail] }), ...extensions },
  });
}

/**
 * What a caller sees of an error, over HTTP and WebSocket alike: our own by the table above, faults of the
 * document or its variables as GraphQL found them, and nothing of the cause of anything else.
 */
export function formatError(
  formatted: GraphQLFormattedError,
  error: unknown,
  requestId: string,
  { config, log }: Pick<Context, 'config' | 'log'>,
): GraphQLFormattedError {
  const { path, locations, extensions: given } = formatted;
  const place = { ...(path && { path }), ...(locations && { locations }) };
  const cause = causeOf(error);
  const code = isRequestFault(cause) ? 'BAD_REQUEST' : given?.code;
  if (!(cause instanceof ParleyError) && typeof code === 'string' && code !== 'INTERNAL_SERVER_ERROR') {
    const shown = config.graphqlIntrospection ? formatted.message : withoutSuggestion(formatted.message);
    if (given?.details) return { message: shown, ...place, extensions: { code, details: given.details } };
    return { ...describeFault(shown, code), ...place };
  }
  const { message, extensions } = toGraphQLError(toPublicError(cause, requestId, log));
  return { message, ...place, extensions };
}

/** Without the names that GraphQL suggests: who may not ask for the schema must not learn it by guessing. */
export const withoutSuggestion = (message: string): string => message.replace(/ ?Did you mean .*\?$/s, '');

/** Apollo gives some faults of a request no code of their own, only an HTTP status. */
function isRequestFault(error: unknown): boolean {
  if (!(error instanceof GraphQLError) || error.extensions.code !== undefined) return false;
  const { status } = (error.extensions.http ?? {}) as { status?: number };
  return status !== undefined && status >= 400 && status < 500;
}

const ABSENT_VARIABLE =
  /^Variable "\$(\w+)" of (?:required|non-null) type "[^"]*" (was not provided|must not be null)\.$/;
const INVALID_VARIABLE = /^Variable "\$(\w+)" got invalid value /;
/** What is wrong with a value may repeat the value, however long it is. */
const MAX_ISSUE_LENGTH = 300;

/** Finds member and fault in GraphQL's sentence on a variable, which repeats the whole value before them. */
function describeFault(message: string, code: string): GraphQLFormattedError {
  const absent = ABSENT_VARIABLE.exec(message);
  if (absent) {
    const [, field = '', issue = ''] = absent;
    return { message, extensions: { code, details: [{ field, issue }] } };
  }
  const invalid = INVALID_VARIABLE.exec(message);
  if (!invalid) return { message, extensions: { code } };
  const [opening, name = ''] = invalid;
  const [value, sentence] = splitBehindValue(message.slice(opening.length));
  const issue = sentence.length > MAX_ISSUE_LENGTH ? `${sentence.slice(0, MAX_ISSUE_LENGTH)}…` : sentence;
  const at = / at "([\w.[\]]+)"$/.exec(value.slice(-MAX_ISSUE_LENGTH))?.[1];
  const member = /^Field "([^"]+)" (?:of required type|is not defined)/.exec(issue)?.[1];
  const field = [(at ?? name).replace(/^input\.?/, ''), member].filter(Boolean).join('.') || name;
  return {
    message: `The variable ${at ?? name} is invalid: ${issue}`,
    extensions: { code, details: [{ field, issue }] },
  };
}

/** Splits at the first semicolon that is not inside a quoted text of the value. */
function splitBehindValue(text: string): [value: string, sentence: string] {
  let isQuoted = false;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (isQuoted && character === '\\') index++;
    else if (character === '"') isQuoted = !isQuoted;
    else if (!isQuoted && character === ';') return [text.slice(0, index), text.slice(index + 2)];
  }
  return ['', 'is invalid'];
}

/** The error that our code threw, however often GraphQL has wrapped it. */
function causeOf(error: unknown): unknown {
  let cause = error;
  while (cause instanceof GraphQLError && cause.originalError) cause = cause.originalError;
  return cause;
}
