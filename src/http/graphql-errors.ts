import { GraphQLError, type GraphQLFormattedError } from 'graphql';
import { ParleyError } from '../errors.js';
import type { Log } from '../log.js';
import { toPublicError } from './faults.js';

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
export const toGraphQLError = ({ code, message, details }: ParleyError): GraphQLError =>
  new GraphQLError(message, {
    extensions: { code: graphqlCodes[code], ...(details.length > 0 && { details }) },
  });

/**
 * What a caller sees of an error, over HTTP and WebSocket alike: our own by the table above, faults of the
 * document or its variables as GraphQL found them, and nothing of the cause of anything else.
 */
export function formatError(
  formatted: GraphQLFormattedError,
  error: unknown,
  requestId: string,
  log: Log,
): GraphQLFormattedError {
  const { path, locations } = formatted;
  const place = { ...(path && { path }), ...(locations && { locations }) };
  const cause = causeOf(error);
  const code = formatted.extensions?.code;
  if (!(cause instanceof ParleyError) && typeof code === 'string' && code !== 'INTERNAL_SERVER_ERROR') {
    return { ...describeFault(formatted.message, code), ...place };
  }
  const { message, extensions } = toGraphQLError(toPublicError(cause, requestId, log));
  return { message, ...place, extensions };
}

/** GraphQL's sentence on a variable repeats its whole value first; the part behind it names member and fault. */
function describeFault(message: string, code: string): GraphQLFormattedError {
  const variable = /^Variable "\$(\w+)" got invalid value [\s\S]*?(?: at "([\w.[\]]+)")?; ([^;]*)$/.exec(
    message,
  );
  if (!variable) return { message, extensions: { code } };
  const [, name = '', at, issue = ''] = variable;
  const missing = /^Field "(\w+)" of required type/.exec(issue)?.[1];
  const field = [(at ?? name).replace(/^input\.?/, ''), missing].filter(Boolean).join('.') || name;
  return {
    message: `The variable ${at ?? name} is invalid: ${issue}`,
    extensions: { code, details: [{ field, issue }] },
  };
}

/** The error that our code threw, however often GraphQL has wrapped it. */
function causeOf(error: unknown): unknown {
  let cause = error;
  while (cause instanceof GraphQLError && cause.originalError) cause = cause.originalError;
  return cause;
}
