import { fastify } from 'fastify';
import { ParleyError } from '../errors.js';
import type { Context } from '../services/context.js';
import { toEnvelope } from './faults.js';
import { type Health, mountHealth } from './health.js';
import { listen } from './listen.js';
import { mountMetrics } from './metrics.js';
import type { HttpServer } from './server.js';

/** What a process that only delivers answers: its health and its metrics. */
export async function startWorkerServer(
  { config, metrics }: Pick<Context, 'config' | 'metrics'>,
  health: Health,
): Promise<HttpServer> {
  const server = fastify({ bodyLimit: 1_024, forceCloseConnections: true });
  mountHealth(server, health);
  mountMetrics(server, metrics);
  server.setNotFoundHandler((_request, reply) =>
    reply.code(404).send(toEnvelope(new ParleyError('not_found', 'There is nothing at this path'))),
  );
  return { address: await listen(server, config), close: () => server.close() };
}
