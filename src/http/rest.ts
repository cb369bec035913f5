import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { ParleyError, unauthorized } from '../errors.js';
import { Answer } from '../rest-compat/answers.js';
import type { RestRoute } from '../rest-compat/routes.js';
import type { Authentication } from '../services/authentication.js';
import type { Context } from '../services/context.js';
import { httpStatus, toEnvelope } from './faults.js';
import { actorOf, authenticateRequest, hasCredential } from './request.js';

const METHODS: HTTPMethods[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** Mounts the table of REST routes; a known path with another method is a 405 that says which there are. */
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
  for (const path of new Set(routes.map((route) => route.path))) {
    const allowed = routes.filter((route) => route.path === path).map(({ method }) => method);
    server.route({
      method: METHODS.filter((method) => !allowed.includes(method as 'GET')),
      url: path,
      handler: (_request, reply) => {
        const fault = new ParleyError('method_not_allowed', `This path takes ${allowed.join(', ')}`);
        return reply.code(httpStatus[fault.code]).header('allow', allowed.join(', ')).send(toEnvelope(fault));
      },
    });
  }
}

function send(reply: FastifyReply, answer: object): FastifyReply {
  if (!(answer instanceof Answer)) return reply.send(answer);
  return reply.code(answer.status).headers(answer.headers).send(answer.body);
}

/** True for a route that a request without a key may have another way into. */
export const takesOtherProof = (request: FastifyRequest): boolean =>
  (request.routeOptions.config as { takesOtherProof?: boolean }).takesOtherProof === true;
