import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { invalidRequest, ParleyError } from '../errors.js';

/** Where requests with an unreadable path are sent. Nothing is mounted there. */
const NOWHERE = '/.nowhere';

/** Sends a request whose path cannot be decoded through the same hooks as any other, instead of past them all. */
export function rewriteUnreadablePath({ url = NOWHERE }: IncomingMessage): string {
  if (!url.includes('%')) return url;
  try {
    decodeURIComponent(url.split('?', 1)[0] ?? '');
    return url;
  } catch {
    return NOWHERE;
  }
}

/** Answers what leads nowhere before its body is read. */
export function refuseNowhere(server: FastifyInstance): void {
  server.addHook('onRequest', (request, _reply, done) => {
    const { is404, routeOptions, raw, headers } = request;
    if (raw.httpVersion === '1.1' && headers.host === undefined) {
      return done(invalidRequest([{ field: 'Host', issue: 'is required' }]));
    }
    // CORS mounts OPTIONS everywhere; what comes here is none of its preflights.
    done(is404 || routeOptions.url === '*' ? faultOf(request) : undefined);
  });
  // Hooks run for a path without a route only when there is a handler.
  server.setNotFoundHandler((request) => {
    throw faultOf(request);
  });
}

const faultOf = ({ url, originalUrl }: FastifyRequest): ParleyError =>
  url === originalUrl
    ? new ParleyError('not_found', 'There is nothing at this path')
    : invalidRequest([{ field: 'url', issue: 'is not a valid path' }]);
