import type { AddressInfo } from 'node:net';
import { type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import { ParleyError } from '../errors.js';
import { createSchema } from '../resolvers/schema.js';
import { restRoutes } from '../rest-compat/routes.js';
import type { Authentication } from '../services/authentication.js';
import type { Context } from '../services/context.js';
import { httpStatus, toEnvelope, toPublicError } from './faults.js';
import { GRAPHQL_PATH, mountGraphQL, wantsPage } from './graphql.js';
import { toGraphQLError } from './graphql-errors.js';
import { type Health, mountHealth } from './health.js';
import { authenticateRequest, hasCredential, identifyRequests, requestIdOf } from './request.js';
import { mountRest, takesOtherProof } from './rest.js';
import { mountWebSocket } from './websocket.js';

/** Longer than the longest id in a path; a longer segment is an id that does not exist. */
const MAX_PATH_SEGMENT = 512;
/** How often, while draining, connections are looked for that have been answered and are kept alive. */
const CLOSE_IDLE_INTERVAL_MS = 50;

export interface HttpServer {
  /** Where it listens. */
  readonly address: { readonly host: string; readonly port: number };
  /** Stops accepting, ends the sockets with 1001, and waits for the requests under way. */
  close(): Promise<void>;
}

/** Puts the faces on the services: REST, GraphQL over HTTP and WebSocket, health. */
export async function startHttpServer(
  services: Context,
  authentication: Authentication,
  health: Health,
): Promise<HttpServer> {
  const { config, log } = services;
  const server = fastify({
    bodyLimit: config.maxBodyBytes,
    genReqId: requestIdOf,
    requestIdHeader: false,
    routerOptions: { maxParamLength: MAX_PATH_SEGMENT },
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) => {
      const fault = toPublicError(error, request.id, log);
      void (reply as FastifyReply).code(httpStatus[fault.code]).send(toEnvelope(fault));
    },
  });
  identifyRequests(server);
  parseJson(server);
  answerErrors(server, services);
  let isClosing = false;
  server.addHook('onSend', async (_request, reply) => {
    if (isClosing) void reply.header('connection', 'close');
  });

  server.addHook('onRequest', async (request) => {
    const { config: route } = request.routeOptions as { config: { isPublic?: boolean } };
    if (route.isPublic || request.is404 || wantsPage(request)) return;
    if (takesOtherProof(request) && !hasCredential(request)) return;
    await authenticateRequest(authentication, request);
  });

  mountHealth(server, health);
  mountRest(server, services, authentication, restRoutes);
  const schema = createSchema();
  await mountGraphQL(server, services, schema);
  const sockets = mountWebSocket(server.server, services, authentication, schema);
  await server.listen({ host: config.host, port: config.port }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    throw new Error(`${config.host}:${config.port} is in use by another program; set PORT to a free one.`);
  });

  const { port } = server.server.address() as AddressInfo;
  return {
    address: { host: config.host, port },
    async close() {
      isClosing = true;
      await sockets.close();
      // Closing a server ends only the connections that are idle at that moment; those with a request under way
      // would be kept alive after its answer, and waited for.
      const closeIdle = setInterval(() => server.server.closeIdleConnections(), CLOSE_IDLE_INTERVAL_MS);
      await server.close().finally(() => clearInterval(closeIdle));
    },
  };
}

/** JSON as it stands: no member is dropped or refused for its name. An empty body is an absent one. */
function parseJson(server: FastifyInstance): void {
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

function answerErrors(server: FastifyInstance, { log }: Context): void {
  server.setErrorHandler((error, request, reply) => {
    const fault = toPublicError(error, request.id, log);
    const isGraphQL = request.routeOptions.url === GRAPHQL_PATH;
    return reply
      .code(httpStatus[fault.code])
      .send(isGraphQL ? { errors: [toGraphQLError(fault).toJSON()] } : toEnvelope(fault));
  });
  server.setNotFoundHandler((_request, reply) => {
    const fault = new ParleyError('not_found', 'There is nothing at this path');
    return reply.code(404).send(toEnvelope(fault));
  });
}
