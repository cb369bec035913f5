import type { FastifyInstance, HTTPMethods } from 'fastify';
import { ParleyError } from '../errors.js';
import type { RestRoute } from '../rest-compat/routes.js';
import type { Context } from '../services/context.js';
import { httpStatus, toEnvelope } from './faults.js';
import { actorOf } from './request.js';

const METHODS: HTTPMethods[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** Mounts the table of REST routes; a known path with another method is a 405 that says which there are. */
export function mountRest(server: FastifyInstance, services: Context, routes: readonly RestRoute[]): void {
  for (const { method, path, handle } of routes) {
    server.route({
      method,
      url: path,
      handler: async (request, reply) => {
        const answer = await handle({
          services,
          actor: actorOf(request),
          params: request.params as Record<string, string>,
          query: request.query as Record<string, unknown>,
          headers: request.headers,
          body: request.body,
          setHeader: (name, value) => void reply.header(name, value),
        });
        return reply.send(answer);
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
