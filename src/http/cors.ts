import type { IncomingMessage } from 'node:http';
import cors from '@fastify/cors';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Config } from '../config.js';

const PREFLIGHT_CACHE_SECONDS = 600;

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'];

const REQUEST_HEADERS = [
  'Authorization',
  'X-Api-Key',
  'Content-Type',
  'Idempotency-Key',
  'Last-Event-ID',
  'X-Request-Id',
  'Range',
  'If-Range',
  'If-None-Match',
  'Apollo-Require-Preflight',
  'X-Apollo-Operation-Name',
];

const ANSWER_HEADERS = [
  'X-Request-Id',
  'X-Event-Cursor',
  'Retry-After',
  'RateLimit-Limit',
  'RateLimit-Remaining',
  'RateLimit-Reset',
  'Allow',
  'ETag',
  'Accept-Ranges',
  'Content-Disposition',
  'Content-Length',
  'Content-Range',
];

/**
 * Lets the pages of the configured origins read what they ask for. A key is never sent by a browser on its own,
 * so there is nothing to allow beyond that: no cookies, no credentials mode.
 */
export async function shareAcrossOrigins(
  server: FastifyInstance,
  { corsOrigins }: Pick<Config, 'corsOrigins'>,
): Promise<void> {
  if (corsOrigins.length === 0) return;
  const options = {
    origin: corsOrigins.includes('*') ? '*' : [...corsOrigins],
    methods: METHODS,
    allowedHeaders: REQUEST_HEADERS,
    exposedHeaders: ANSWER_HEADERS,
    maxAge: PREFLIGHT_CACHE_SECONDS,
  };
  await server.register(cors, {
    delegator: (request, callback) => callback(null, { ...options, preflight: isPreflight(request) }),
  });
}

const isPreflight = ({ headers }: FastifyRequest): boolean =>
  headers.origin !== undefined && headers['access-control-request-method'] !== undefined;

/**
 * Whether a WebSocket may be opened from where the request comes: a page of this server, a page of a configured
 * origin, or no page at all. Browsers do not apply CORS to WebSockets, but they always say the origin.
 */
export function isWelcomeOrigin(
  { headers }: IncomingMessage,
  { corsOrigins, publicUrl }: Pick<Config, 'corsOrigins' | 'publicUrl'>,
): boolean {
  const { origin, host } = headers;
  if (origin === undefined || corsOrigins.includes('*') || corsOrigins.includes(origin)) return true;
  if (!URL.canParse(origin)) return false;
  // Only the host is compared with that of the request: a proxy may have taken the TLS away.
  return new URL(origin).host === host || (publicUrl !== null && origin === new URL(publicUrl).origin);
}
