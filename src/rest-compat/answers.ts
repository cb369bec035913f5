import type { Readable } from 'node:stream';

/** An answer that is not one JSON value: bytes, a stream, another status than 200. */
export class Answer {
  constructor(
    readonly status: number,
    readonly headers: Readonly<Record<string, string>>,
    /** Null for an answer without a body. */
    readonly body: Readable | null,
  ) {}
}
