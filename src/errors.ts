/** What kind of fault an error is; each transport maps it once (see `http/faults.ts`, `http/graphql-errors.ts`). */
export type ErrorCode =
  | 'invalid_request'
  | 'cursor_expired'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'method_not_allowed'
  | 'conflict'
  | 'payload_too_large'
  | 'rate_limited'
  | 'internal_error';

/** One fault in what a caller sent: where (`content.attachments[0].data`) and what is wrong with it. */
export interface ErrorDetail {
  readonly field: string;
  readonly issue: string;
}

/** The one error that is meant for callers. Anything else that is thrown is answered as `internal_error`. */
export class ParleyError extends Error {
  override readonly name = 'ParleyError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details: readonly ErrorDetail[] = [],
  ) {
    super(message);
  }
}

export const invalidRequest = (details: readonly ErrorDetail[], message = 'The request was invalid') =>
  new ParleyError('invalid_request', message, details);

/** The same words for an absent object, a malformed id and another tenant's object, so they cannot be told apart. */
export const notFound = (noun: string) => new ParleyError('not_found', `${noun} not found`);

export const conflict = (message: string, details: readonly ErrorDetail[] = []) =>
  new ParleyError('conflict', message, details);

export const unauthorized = (message = 'A valid API key is required') =>
  new ParleyError('unauthorized', message);

export const forbidden = (message: string) => new ParleyError('forbidden', message);
