import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { unauthorized } from '../errors.js';
import { Answer } from '../rest-compat/answers.js';
import type { RestRoute } from '../rest-compat/route.js';
import type { Authentication } from '../services/authentication.js';
import type { Context } from '../services/context.js';
import { actorOf, authenticateRequest, hasCredential } from './request.js';

/** Mounts the table of REST routes. */
export function mountRest(
  server: FastifyInstance,
  services: Context,
  authentication: Authentication,
  routes: readonly RestRoute[],
): void {
  const stopping = new AbortController();
  server.addHook('preClose', async () => stopping.abort());

  for (const { method, path, handle, actorWithoutKey } of routes) {
    server.route({
      method,
      url: path,
      config: { takesOtherProof: actorWithoutKey !== undefined },
      handler: async (request, reply) => {
        const unauthenticated = {
          services,
          params: request.params as Record<string, string>,
          query: request.query as Record<string, unknown>,
          headers: request.headers,
        };
        const actor =
          actorWithoutKey && !hasCredential(request) ? actorWithoutKey(unauthenticated) : actorOf(request);
        if (!actor) throw unauthorized();
        const answer = await handle({
          ...unauthenticated,
          actor,
          body: request.body,
          setHeader: (name, value) => void reply.header(name, value),
          reauthenticate: () => authenticateRequest(authentication, request),
          stopping: stopping.signal,
        });
        return send(reply, answer);
      },
    });
  }
}

function send(reply: FastifyReply, answer: object): FastifyReply {
  if (!(answer instanceof Answer)) return reply.send(answer);
  // What nobody will see is not to be read, and may have no end.
  if (reply.request.method === 'HEAD') answer.body?.destroy();
  return reply.code(answer.status).headers(answer.headers).send(answer.body);
}

/** True for a route that a request without a key may have another way into. */
export const takesOtherProof = (request: FastifyRequest): boolean =>
  (request.routeOptions.config as { takesOtherProof?: boolean }).takesOtherProof === true;
