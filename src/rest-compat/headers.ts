/** Headers that callers may send, beside the credential. */
export const requestHeaders = {
  'Idempotency-Key': {
    description:
      'Makes a repetition safe: the same key with the same message gives the first answer again, with another message a 409. It lives as long as its message.',
    schema: { type: 'string', minLength: 1, maxLength: 128 },
  },
  'Last-Event-ID': {
    description:
      'The id of the last event that was seen; browsers send it when they connect again. It outdoes `after`.',
    schema: { type: 'string' },
  },
  Range: {
    description: 'The part of the file that is asked for: `bytes=0-1023`.',
    schema: { type: 'string' },
  },
  'If-Range': {
    description: 'The `ETag` that the part must be of; otherwise the whole file comes.',
    schema: { type: 'string' },
  },
  'If-None-Match': { description: 'The `ETag` that the caller has.', schema: { type: 'string' } },
} as const;

/** Headers that answers carry. */
export const answerHeaders = {
  'X-Request-Id': {
    description:
      'The id of the request: the one that was sent in this header, or a new one. It is in the log.',
    schema: { type: 'string' },
  },
  'X-Event-Cursor': {
    description:
      'The end of the log before the answer was read: follow the events behind it (`after`), and nothing in between is missed.',
    schema: { type: 'string' },
  },
  'Retry-After': {
    description: 'In how many seconds to try again.',
    schema: { type: 'integer', minimum: 1 },
  },
  'RateLimit-Limit': {
    description: 'How many requests the key has in a minute.',
    schema: { type: 'integer', minimum: 1 },
  },
  'RateLimit-Remaining': {
    description: 'How many of them are left.',
    schema: { type: 'integer', minimum: 0 },
  },
  'RateLimit-Reset': {
    description: 'In how many seconds there are all of them again.',
    schema: { type: 'integer', minimum: 0 },
  },
  ETag: { description: 'Stands for the bytes of the file.', schema: { type: 'string' } },
  'Accept-Ranges': { description: 'Parts can be asked for.', schema: { type: 'string', const: 'bytes' } },
  'Content-Range': { description: 'Which part it is, and of how many bytes.', schema: { type: 'string' } },
  'Content-Disposition': {
    description: 'The file is for saving, under this name.',
    schema: { type: 'string' },
  },
} as const;

export type RequestHeader = keyof typeof requestHeaders;
export type AnswerHeader = keyof typeof answerHeaders;
