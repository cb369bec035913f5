import { setMaxListeners } from 'node:events';
import type { Server } from 'node:http';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { Redis } from 'ioredis';
import { restRoutes } from '../rest-compat/routes.js';
import type { Authentication } from '../services/authentication.js';
import type { Context } from '../services/context.js';
import type { KeyWatch } from '../services/key-watch.js';
import { admitBodies, lingerOverUnreadBodies, parseJson } from './bodies.js';
import { shareAcrossOrigins } from './cors.js';
import { mountDocs } from './docs.js';
import { httpStatus, toEnvelope, toPublicError } from './faults.js';
import { GRAPHQL_PATH, mountGraphQL, wantsPage } from './graphql.js';
import { createGraphQL } from './graphql-engine.js';
import { toGraphQLError } from './graphql-errors.js';
import { type Health, mountHealth } from './health.js';
import { listen } from './listen.js';
import { refuseOtherMethods } from './methods.js';
import { mountMetrics } from './metrics.js';
import { refuseNowhere, rewriteUnreadablePath } from './nowhere.js';
import { createOpenConnections } from './open-connections.js';
import { allowanceHeaders, createRateLimiter, RateLimited, type RateLimiter } from './rate-limit.js';
import { createClientErrorHandler, refuseTunnels } from './raw-answers.js';
import { actorOf, authenticateRequest, hasCredential, identifyRequests, requestIdOf } from './request.js';
import { mountRest, takesOtherProof } from './rest.js';
import { secureAnswers } from './security.js';
import { mountWebSocket } from './websocket.js';

/** More than Node takes as headers, so that a long segment is an id like any other. */
const MAX_PATH_SEGMENT = 65_536;
/** Long enough for a body of 10 MB at 300 kbit/s. */
const REQUEST_TIMEOUT_MS = 300_000;
const HEADERS_TIMEOUT_MS = 15_000;
/** After a body that took longer to come its key is checked again. */
const SLOW_BODY_MS = 50;
/** How often it is looked for requests that have run out of time. */
const TIMEOUT_CHECK_MS = 5_000;
/** A connection on which nothing moves at all is no use; quiet streams send something more often. */
const SILENT_CONNECTION_MS = 120_000;
/** How often, while draining, connections are looked for that are not waited for. */
const CLOSE_IDLE_INTERVAL_MS = 50;
/** For live clients to get what is pending for them when the server stops. */
const DRAIN_MS = 5_000;

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
  keyWatch: KeyWatch,
  health: Health,
  redis: Redis | null,
): Promise<HttpServer> {
  const { config, log } = services;
  const limiter =
    config.rateLimitPerMinute === null
      ? null
      : createRateLimiter({ budget: 'requests', pointsPerMinute: config.rateLimitPerMinute, redis, log });
  const server = fastify({
    bodyLimit: config.maxBodyBytes,
    genReqId: requestIdOf,
    requestIdHeader: false,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: SILENT_CONNECTION_MS,
    http: {
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
      // Refused in the envelope instead.
      requireHostHeader: false,
    },
    routerOptions: { maxParamLength: MAX_PATH_SEGMENT },
    rewriteUrl: rewriteUnreadablePath,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    clientErrorHandler: createClientErrorHandler(),
  });
  const countUnderWay = countRequests(server.server);
  identifyRequests(server);
  secureAnswers(server, config);
  answerErrors(server, services);
  await shareAcrossOrigins(server, config);
  refuseNowhere(server);
  let isClosing = false;
  server.addHook('onSend', (_request, reply, _payload, done) => {
    if (isClosing) void reply.header('connection', 'close');
    done();
  });

  server.addHook('onRequest', async (request, reply) => {
    const { config: route } = request.routeOptions as { config: { isPublic?: boolean } };
    if (route.isPublic || wantsPage(request)) return;
    if (takesOtherProof(request) && !hasCredential(request)) return;
    await authenticateRequest(authentication, request);
    if (limiter) await spendRequest(limiter, request, reply);
  });

  // A body may take minutes to come, and the key may have been revoked since.
  server.addHook('preHandler', (request, reply, done) => {
    if (request.actor === null || reply.elapsedTime < SLOW_BODY_MS) return done();
    authenticateRequest(authentication, request).then(() => done(), done);
  });

  parseJson(server);
  admitBodies(server, config.maxBodyBytes);
  lingerOverUnreadBodies(server, config.maxBodyBytes);
  refuseTunnels(server.server);
  const refuseOthers = refuseOtherMethods(server);

  mountHealth(server, health);
  mountMetrics(server, services.metrics);
  mountDocs(server, config);
  const open = createOpenConnections(config, keyWatch);
  const cut = new AbortController();
  // Every event stream listens to it.
  setMaxListeners(0, cut.signal);
  mountRest(server, services, authentication, open, cut.signal, restRoutes);
  const graphql = await createGraphQL(services, redis);
  await mountGraphQL(server, services, graphql);
  refuseOthers();
  const sockets = mountWebSocket(server.server, services, authentication, graphql, limiter, open);
  return {
    address: await listen(server, config),
    async close() {
      isClosing = true;
      const drainMs = Math.min(DRAIN_MS, config.shutdownGraceMs / 4);
      const timer = setTimeout(() => cut.abort(), drainMs);
      await Promise.all([services.liveFeed.drain(), sockets.close(drainMs)]);
      // Closing a server ends only the connections that are idle at that moment. It would wait for those that are
      // kept alive after the answer that is under way, and for those that browsers open in advance.
      const closeIdle = setInterval(() => {
        if (countUnderWay() === 0) server.server.closeAllConnections();
        else server.server.closeIdleConnections();
      }, CLOSE_IDLE_INTERVAL_MS);
      await server.close().finally(() => clearInterval(closeIdle));
      clearTimeout(timer);
    },
  };
}

/** How many requests have not been answered in full. */
function countRequests(server: Server): () => number {
  let count = 0;
  server.on('request', (_request, response) => {
    count++;
    response.once('close', () => count--);
  });
  return () => count;
}

async function spendRequest(
  limiter: RateLimiter,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const allowance = await limiter.consume(actorOf(request).keyId);
  reply.headers(allowanceHeaders(allowance));
}

function answerErrors(server: FastifyInstance, { log }: Context): void {
  server.setErrorHandler((error, request, reply) => {
    const fault = toPublicError(error, request.id, log);
    const isGraphQL = request.routeOptions.url === GRAPHQL_PATH;
    if (fault instanceof RateLimited) {
      const { allowance } = fault;
      reply.headers({ ...allowanceHeaders(allowance), 'retry-after': allowance.resetSeconds });
    }
    return reply
      .code(httpStatus[fault.code])
      .send(isGraphQL ? { errors: [toGraphQLError(fault).toJSON()] } : toEnvelope(fault));
  });
}
