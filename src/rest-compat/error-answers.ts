import { z } from 'zod';
import type { ErrorCode } from '../errors.js';
import type { AnswerHeader } from './headers.js';

interface ErrorStatus {
  readonly description: string;
  /** Each code that it may have, with a message as an example; the first one's is shown. */
  readonly codes: Partial<Record<ErrorCode, string>>;
  readonly headers?: readonly AnswerHeader[];
}

/** What the statuses of errors mean. */
export const errorStatuses: Record<number, ErrorStatus> = {
  400: {
    description:
      'The request is at fault; `details` names every faulty field. Or the cursor is older than the log.',
    codes: { invalid_request: 'The request was invalid', cursor_expired: 'The log begins after this cursor' },
  },
  401: {
    description: 'There is no credential, or no good one.',
    codes: { unauthorized: 'A valid API key is required' },
  },
  403: {
    description: 'The key lacks the scope, which the message names.',
    codes: { forbidden: 'The API key lacks the scope conversations:read' },
  },
  404: {
    description: "There is no such thing, or it is another tenant's.",
    codes: { not_found: 'Thread not found' },
  },
  409: {
    description: 'The idempotency key was used with another message.',
    codes: { conflict: 'The idempotency key was used before with a different message' },
  },
  413: {
    description: 'The body is larger than the server accepts.',
    codes: { payload_too_large: 'The request body is too large' },
  },
  429: {
    description: 'Too many requests for now.',
    codes: { rate_limited: 'Too many requests' },
    headers: ['Retry-After', 'RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset'],
  },
  500: {
    description: 'Something went wrong on our side; the message has the request id.',
    codes: {
      internal_error:
        'Something went wrong on our side; the request id is bf063627-83d8-461b-b912-74a1f8acd5ee',
    },
  },
};

const errorCodes: Record<ErrorCode, true> = {
  invalid_request: true,
  cursor_expired: true,
  unauthorized: true,
  forbidden: true,
  not_found: true,
  method_not_allowed: true,
  conflict: true,
  payload_too_large: true,
  rate_limited: true,
  internal_error: true,
};

/** The documented error envelope ("Error Handling" of the conversations document). */
export const errorAnswer = z
  .object({
    error: z
      .object({
        code: z
          .enum(Object.keys(errorCodes) as ErrorCode[])
          .meta({ description: 'What kind of error it is.' }),
        message: z.string().meta({ description: 'The error in words.' }),
        details: z
          .array(
            z.object({
              field: z
                .string()
                .meta({ description: 'Where, as `content.attachments[0].data`; `body` for the whole body.' }),
              issue: z.string().meta({ description: 'What is wrong with it.' }),
            }),
          )
          .optional()
          .meta({ description: 'Every fault at once.' }),
      })
      .meta({ description: 'The error.' }),
  })
  .meta({ id: 'ErrorAnswer', description: 'Every error has this form.' });
