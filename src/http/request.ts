import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Actor } from '../services/actor.js';
import { type Authentication, bearerToken } from '../services/authentication.js';

/** The caller's own `X-Request-Id` when it is a sensible one, otherwise a new id. */
export function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
}

/** Takes or makes the id of every request and echoes it, and has a place for who sent it. */
export function identifyRequests(server: FastifyInstance): void {
  server.decorateRequest('actor', null);
  server.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id);
    done();
  });
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Null until the request is authenticated. */
    actor: Actor | null;
  }
}

/** Who sent an authenticated request. */
export function actorOf({ actor }: FastifyRequest): Actor {
  if (!actor) throw new Error('The route was reached without authentication');
  return actor;
}

/** Whether the request brings a credential at all, good or bad. */
export const hasCredential = ({ headers }: FastifyRequest): boolean =>
  headers.authorization !== undefined || headers['x-api-key'] !== undefined;

/**
 * Makes an actor of the request's credential, before its body is read: a stranger gets nothing parsed.
 * @throws ParleyError `unauthorized`
 */
export async function authenticateRequest(
  authentication: Authentication,
  request: FastifyRequest,
): Promise<void> {
  const { authorization, 'x-api-key': apiKey } = request.headers;
  const credential = bearerToken(authorization) ?? (typeof apiKey === 'string' ? apiKey : undefined);
  request.actor = await authentication.authenticate(credential);
}
