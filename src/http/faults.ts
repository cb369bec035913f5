import { type ErrorDetail, ParleyError } from '../errors.js';
import type { Log } from '../log.js';

/** What a framework's error says about the request, in our terms; null for a fault of our own. */
const frameworkFaults: Record<string, (error: Error) => ParleyError> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => bodyTooLarge(),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () => invalidBody('must be sent as application/json'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () => invalidBody('differs in length from its Content-Length'),
  FST_ERR_CTP_INVALID_JSON_BODY: () => invalidBody('is not valid JSON'),
};

export const bodyTooLarge = () =>
  new ParleyError('payload_too_large', 'The request body is too large', [
    { field: 'body', issue: 'is larger than the server accepts' },
  ]);

const invalidBody = (issue: string) =>
  new ParleyError('invalid_request', 'The request was invalid', [{ field: 'body', issue }]);

const internalError = (requestId: string) =>
  new ParleyError('internal_error', `Something went wrong on our side; the request id is ${requestId}`);

/**
 * The error that a caller may see of whatever was thrown. What is not meant for callers is logged with its
 * cause and answered as `internal_error`, which says nothing but the request id.
 */
export function toPublicError(error: unknown, requestId: string, log: Log): ParleyError {
  if (error instanceof ParleyError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  const fault =
    typeof code === 'string' && Object.hasOwn(frameworkFaults, code) ? frameworkFaults[code] : undefined;
  if (fault) return fault(error as Error);
  log.error({ err: error, requestId }, 'unexpected error');
  return internalError(requestId);
}

export const httpStatus: Record<ParleyError['code'], number> = {
  invalid_request: 400,
  cursor_expired: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  payload_too_large: 413,
  rate_limited: 429,
  internal_error: 500,
};

/** The documented error envelope ("Error Handling" of the conversations document). */
export function toEnvelope({ code, message, details }: ParleyError): {
  error: { code: string; message: string; details?: readonly ErrorDetail[] };
} {
  return { error: { code, message, ...(details.length > 0 && { details }) } };
}
