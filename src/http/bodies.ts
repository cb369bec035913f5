import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { invalidRequest } from '../errors.js';
import { bodyTooLarge } from './faults.js';

/** How long, and for how much, a client that was refused may go on sending before its connection is cut. */
const LINGER = { totalMs: 30_000, idleMs: 5_000, bytes: 64 * 1_048_576 };

/** JSON as it stands: no member is dropped or refused for its name. An empty body is an absent one. */
export function parseJson(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    if (body === '') return done(null, undefined);
    try {
      done(null, JSON.parse(body as string));
    } catch {
      done(Object.assign(new Error('The body is not valid JSON'), { code: 'FST_ERR_CTP_INVALID_JSON_BODY' }));
    }
  });
}

/**
 * Takes a body only when the request is one that will be answered: a client that asks before it sends
 * (`Expect: 100-continue`) is told to go on here, behind authentication and limits.
 */
export function admitBodies(server: FastifyInstance, maxBytes: number): void {
  for (const event of ['checkContinue', 'checkExpectation']) {
    server.server.on(event, (request, response) => server.server.emit('request', request, response));
  }
  server.addHook('preParsing', ({ headers }, reply, _payload, done) => {
    const encoding = headers['content-encoding'] ?? 'identity';
    if (encoding.toLowerCase() !== 'identity') {
      return done(invalidRequest([{ field: 'Content-Encoding', issue: 'must be identity' }]));
    }
    if (Number(headers['content-length']) > maxBytes) return done(bodyTooLarge());
    if (headers.expect?.toLowerCase() === '100-continue') reply.raw.writeContinue();
    done();
  });
}

/**
 * Lets a client that is refused in the middle of a body read why. If its connection were closed with bytes
 * unread, TCP would reset it, and the answer could be lost. So the answer goes out whole, but is not ended
 * before the client has stopped sending, or has had its time.
 */
export function lingerOverUnreadBodies(server: FastifyInstance, maxBytes: number): void {
  const closing = new AbortController();
  server.addHook('preClose', async () => closing.abort());
  server.addHook('onSend', ({ raw }, reply, payload, done) => {
    if (typeof payload !== 'string' || raw.complete || isSmall(raw, maxBytes)) return done();
    reply.header('connection', 'close').header('content-length', Buffer.byteLength(payload));
    done(null, Readable.from(sendAndLinger(payload, raw, closing.signal), { objectMode: false }));
  });
}

/** Of known and bearable length: Node reads the rest, and the connection stays useful. */
const isSmall = ({ headers }: IncomingMessage, maxBytes: number) =>
  headers['transfer-encoding'] === undefined && !(Number(headers['content-length']) > maxBytes);

async function* sendAndLinger(answer: string, request: IncomingMessage, closing: AbortSignal) {
  yield Buffer.from(answer);
  if (!request.complete && !request.destroyed && !closing.aborted) await untilSent(request, closing);
}

function untilSent(request: IncomingMessage, closing: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let bytes = 0;
    const stop = () => {
      clearTimeout(total);
      clearTimeout(idle);
      closing.removeEventListener('abort', stop);
      resolve();
    };
    const total = setTimeout(stop, LINGER.totalMs);
    const idle = setTimeout(stop, LINGER.idleMs);
    closing.addEventListener('abort', stop);
    request.once('close', stop).once('end', stop).once('error', stop);
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      idle.refresh();
      if (bytes > LINGER.bytes) stop();
    });
    request.resume();
  });
}
