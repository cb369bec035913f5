import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ParleyError, unauthorized } from '../errors.js';
import { Answer } from '../rest-compat/answers.js';
import type { RestRoute } from '../rest-compat/route.js';
import type { Actor } from '../services/actor.js';
import type { Authentication } from '../services/authentication.js';
import type { Context } from '../services/context.js';
import type { OpenConnections } from './open-connections.js';
import { actorOf, authenticateRequest, hasCredential } from './request.js';

/** A stream whose connection broke is counted until that is noticed. */
const RETRY_AFTER_SECONDS = 5;

/**
 * Mounts the table of REST routes.
 * @param cut aborted when the server can wait no longer for answers that go on
 */
export function mountRest(
  server: FastifyInstance,
  services: Context,
  authentication: Authentication,
  open: OpenConnections,
  cut: AbortSignal,
  routes: readonly RestRoute[],
): void {
  for (const { method, path, handle, actorWithoutKey } of routes) {
    server.route({
      method,
      url: path,
      config: { takesOtherProof: actorWithoutKey !== undefined },
      handler: async (request, reply) => {
        const params = request.params as Record<string, string>;
        const query = request.query as Record<string, unknown>;
        const { headers } = request;
        const actor =
          actorWithoutKey && !hasCredential(request)
            ? actorWithoutKey({ services, params, query, headers })
            : actorOf(request);
        if (!actor) throw unauthorized();
        const answer = await handle({
          services,
          params,
          query,
          headers,
          actor,
          body: request.body,
          setHeader: (name, value) => void reply.header(name, value),
          reauthenticate: () => authenticateRequest(authentication, request),
          holdOpen: (onRefused) => holdOpen(open, actor, onRefused, reply),
          cut,
        });
        return send(reply, answer);
      },
    });
  }
}

/** Counts an answer that lasts as a connection and as a subscription of its key. */
function holdOpen(
  open: OpenConnections,
  actor: Actor,
  onRefused: () => void,
  reply: FastifyReply,
): () => void {
  const unsubscribe = open.subscribe(actor);
  const disconnect = unsubscribe && open.connect(actor, onRefused);
  if (!disconnect) {
    unsubscribe?.();
    reply.header('retry-after', RETRY_AFTER_SECONDS);
    throw new ParleyError(
      'rate_limited',
      'The API key has too many connections or streams open; end one of them',
    );
  }
  return () => {
    unsubscribe();
    disconnect();
  };
}

function send(reply: FastifyReply, answer: object): FastifyReply {
  if (!(answer instanceof Answer)) return reply.send(answer);
  // What nobody will see is not to be read, and may have no end.
  if (reply.request.method === 'HEAD') answer.body?.destroy();
  return reply
    .code(answer.status)
    .headers(answer.headers)
    .send(answer.body ?? undefined);
}

/** True for a route that a request without a key may have another way into. */
export const takesOtherProof = (request: FastifyRequest): boolean =>
  (request.routeOptions.config as { takesOtherProof?: boolean }).takesOtherProof === true;
