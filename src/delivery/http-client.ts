import { setMaxListeners } from 'node:events';
import { performance } from 'node:perf_hooks';
import { Agent, type Dispatcher, errors } from 'undici';
import {
  type AttemptError,
  type ConnectorOptions,
  DialError,
  errorCode,
  guardedConnector,
} from './guarded-connector.js';
import { retryAfterMs } from './retry-schedule.js';

export type { AttemptError } from './guarded-connector.js';

/** How one POST went. `error` is null for a complete 2xx answer and for nothing else. */
export interface PostResult {
  /** Null if no answer began. A failure may have one: an answer that began and then stalled. */
  readonly statusCode: number | null;
  readonly durationMs: number;
  readonly error: AttemptError | null;
  /** The first 2 KB of the answer as text without NULs (which Postgres refuses); null if no answer began. */
  readonly responseBody: string | null;
  /** What `Retry-After` of a 429 or 503 asks for, at most 24 hours. */
  readonly retryAfterMs: number | null;
}

export interface PostRequest {
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array;
  /** Ends the attempt as `aborted`. */
  readonly signal?: AbortSignal;
}

export interface HttpClient {
  /**
   * One POST, never repeated and never redirected. Resolves within the deadline whatever the receiver does, and
   * rejects only if the request itself cannot be written (a header with a line break).
   */
  post(request: PostRequest): Promise<PostResult>;
  /** Ends what is in flight as `aborted`, and closes every connection. */
  close(): Promise<void>;
}

export interface HttpClientOptions extends ConnectorOptions {
  /** For one attempt from name resolution to the last byte of the answer, waiting for a connection included. */
  readonly deadlineMs: number;
  /** `Parley/<version>` */
  readonly userAgent: string;
  /** Per scheme, host and port; more attempts than this at once wait for one another. Default 64. */
  readonly connectionsPerOrigin?: number;
}

const KEPT_BODY_BYTES = 2_048;
// An answer a little longer than what is kept is read to its end, because a new connection costs more than that.
const READ_BODY_BYTES = 16_384;
const RESPONSE_HEADER_BYTES = 16_384;

/**
 * The client for everything that tenants register: webhooks and workflow handlers. It dials only what the guard
 * allows, verifies TLS, and holds a bounded part of any answer. Connections are kept alive for some seconds.
 */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const agent = new Agent({
    connect: guardedConnector(options),
    connections: options.connectionsPerOrigin ?? 64,
    keepAliveTimeout: 4_000,
    keepAliveMaxTimeout: 10_000,
    maxHeaderSize: RESPONSE_HEADER_BYTES,
    // Both restart with every byte, so a slow drip outlives them; the deadline of `post` replaces them.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const stops = new Set<() => void>();
  let closed = false;

  function post(request: PostRequest): Promise<PostResult> {
    return new Promise((resolve, reject) => {
      const startedAt = performance.now();
      const answer = createAnswer();
      let controller: Dispatcher.DispatchController | undefined;
      let settled = false;

      function settle(error: AttemptError | null) {
        if (settled) return;
        settled = true;
        clearTimeout(deadline);
        stops.delete(stop);
        request.signal?.removeEventListener('abort', stop);
        resolve({ ...answer.summary(), error, durationMs: Math.round(performance.now() - startedAt) });
      }
      // Before the request has a connection there is no controller; `onRequestStart` then ends it unsent.
      function cut(error: AttemptError | null) {
        settle(error);
        controller?.abort(new Error('The attempt is over'));
      }
      const stop = () => cut('aborted');
      const deadline = setTimeout(() => cut('timeout'), options.deadlineMs);
      stops.add(stop);
      if (request.signal) {
        // All attempts of a process may share one signal; without this, Node warns of a leak from the 11th on.
        setMaxListeners(0, request.signal);
        request.signal.addEventListener('abort', stop);
      }

      if (closed || request.signal?.aborted) return settle('aborted');
      // Again, although it was asked at registration: the configuration may have become stricter since.
      if (options.guard.urlIssue(request.url) !== null) return settle('forbidden_address');
      const url = new URL(request.url);

      agent.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method: 'POST',
          headers: { ...request.headers, 'accept-encoding': 'identity', 'user-agent': options.userAgent },
          body: request.body,
        },
        {
          onRequestStart(started) {
            controller = started;
            if (settled) started.abort(new Error('The attempt is over'));
          },
          onResponseStart(_controller, statusCode, headers) {
            if (statusCode >= 200) answer.begin(statusCode, headers['retry-after']);
          },
          onResponseData(_controller, chunk) {
            if (answer.add(chunk) > READ_BODY_BYTES) cut(answer.statusError());
          },
          onResponseEnd: () => settle(answer.statusError()),
          onResponseError(_controller, error) {
            if (!settled && errorCode(error) === 'UND_ERR_INVALID_ARG') reject(error);
            settle(closed ? 'aborted' : exchangeErrorClass(error, answer.began()));
          },
        },
      );
    });
  }

  return {
    post,
    async close() {
      closed = true;
      for (const stop of stops) stop();
      await agent.destroy();
    },
  };
}

/** Collects what is worth keeping of one answer, in bounded memory. */
function createAnswer() {
  let statusCode: number | null = null;
  let retryAfter: number | null = null;
  let receivedBytes = 0;
  const kept: Buffer[] = [];

  return {
    begin(status: number, retryAfterHeader: string | string[] | undefined) {
      statusCode = status;
      if (status === 429 || status === 503)
        retryAfter = retryAfterMs([retryAfterHeader].flat()[0], Date.now());
    },
    /** Takes a piece of the body and returns how many bytes there have been. */
    add(chunk: Buffer): number {
      const room = KEPT_BODY_BYTES - receivedBytes;
      // Copied, because the piece is a window on a whole socket buffer.
      if (room > 0) kept.push(Buffer.from(chunk.subarray(0, room)));
      receivedBytes += chunk.byteLength;
      return receivedBytes;
    },
    began: () => statusCode !== null,
    statusError(): AttemptError | null {
      if (statusCode === null) return 'invalid_response';
      if (statusCode < 300) return null;
      return statusCode < 400 ? 'redirect_refused' : `http_${statusCode}`;
    },
    summary() {
      // As a stream, the decoder holds back a character that the cut left incomplete.
      const stream = receivedBytes > KEPT_BODY_BYTES;
      const text = new TextDecoder().decode(Buffer.concat(kept), { stream }).replaceAll('\0', '');
      return { statusCode, responseBody: statusCode === null ? null : text, retryAfterMs: retryAfter };
    },
  };
}

function exchangeErrorClass(error: Error, answerBegan: boolean): AttemptError {
  if (error instanceof DialError) return error.attemptError;
  const code = errorCode(error);
  if (/^(ERR_SSL|ERR_TLS|EPROTO)/.test(code)) return 'tls_error';
  // The parser's errors have no code in undici 7. An answer that only ends too early is a broken connection.
  const unreadable =
    (error instanceof errors.HTTPParserError && !error.message.includes('EOF')) ||
    (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' && !answerBegan) ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    error.message.startsWith('bad ');
  return unreadable ? 'invalid_response' : 'connection_reset';
}
