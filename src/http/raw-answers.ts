import { type Server, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ConnectionError } from 'fastify';
import { ParleyError } from '../errors.js';
import { toEnvelope } from './faults.js';

/** How long a client may take to read its answer, and to stop sending, before its connection is cut. */
const LINGER_MS = 5_000;

/** Answers on a connection that is no request to the server (yet, or any more) with the envelope, and ends it. */
export function answerRaw(
  socket: Duplex,
  status: number,
  error: ParleyError,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = JSON.stringify(toEnvelope(error));
  const lines = Object.entries({
    ...headers,
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    'x-content-type-options': 'nosniff',
    connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on('error', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`);
  // Closing at once what is still being sent to would reset the connection, and the answer be lost.
  socket.resume();
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

const brokenRequests: Readonly<Record<string, [status: number, field: string, issue: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'headers', 'are larger than the server accepts'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'body', 'has longer chunk extensions than the server accepts'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'request', 'took too long to arrive'],
};

/** Makes the answer to what is not HTTP, or came too slowly. Each connection gets one. */
export function createClientErrorHandler(): (error: ConnectionError, socket: Duplex) => void {
  const answered = new WeakSet<Duplex>();
  return (error, socket) => {
    if (answered.has(socket)) return;
    answered.add(socket);
    // Node's own handler looks there too: a second answer inside of one that has begun would garble it.
    const { _httpMessage: underway } = socket as { _httpMessage?: { headersSent: boolean } };
    if (!socket.writable || underway?.headersSent) return void socket.destroy();
    const [status, field, issue] = brokenRequests[error.code ?? ''] ?? [400, 'request', 'is not valid HTTP'];
    const code = status === 413 ? 'payload_too_large' : 'invalid_request';
    answerRaw(socket, status, new ParleyError(code, 'The request was invalid', [{ field, issue }]));
  };
}

/** CONNECT names a server to be connected to instead of a path. */
export function refuseTunnels(server: Server): void {
  server.on('connect', (_request, socket: Duplex) => {
    const fault = new ParleyError('method_not_allowed', 'This server is no proxy');
    answerRaw(socket, 405, fault, { allow: 'GET, HEAD, POST, PUT, DELETE' });
  });
}
