import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Config } from '../config.js';
import { forbidden } from '../errors.js';
import { isWelcomeOrigin } from './cors.js';
import { answerRaw } from './raw-answers.js';

type Accept = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** Hands WebSockets at a path to `accept`, unless a foreign page opens them. Stops when the result is called. */
export function acceptWebSockets(
  server: Server,
  path: string,
  config: Pick<Config, 'corsOrigins' | 'publicUrl'>,
  accept: Accept,
): () => void {
  const upgrade: Accept = (request, socket, head) => {
    const isOurs = isWebSocket(request) && request.url?.split('?', 1)[0] === path;
    if (!isOurs) return serveWithoutUpgrade(server, request, socket, head);
    if (!isWelcomeOrigin(request, config)) {
      return answerRaw(socket, 403, forbidden('Pages of this origin may not open a WebSocket here'));
    }
    accept(request, socket, head);
  };
  server.on('upgrade', upgrade);
  return () => void server.off('upgrade', upgrade);
}

const isWebSocket = ({ method, headers }: IncomingMessage): boolean =>
  method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket';

/**
 * Serves a request as if it had not asked for another protocol, as HTTP has it for those that a server does not
 * speak: some clients offer HTTP/2 (`h2c`) with their first request. Node has taken such a connection out of
 * HTTP already, so it is given back with the request, without the offer, before what is still to be read.
 */
function serveWithoutUpgrade(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = request;
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = rawHeaders.slice(index, index + 2);
    if (!/^(?:upgrade|http2-settings)$/i.test(name)) lines.push(`${name}: ${withoutOffer(name, value)}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  server.emit('connection', socket);
}

/** `Connection` names the headers of the offer too; that it is kept alive, or not, stays. */
const withoutOffer = (name: string, value: string) =>
  /^connection$/i.test(name) ? value.replace(/\b(?:upgrade|http2-settings)\b\s*,?/gi, '') : value;
