import type { FastifyInstance } from 'fastify';
import type { Metrics } from '../services/metrics.js';

/**
 * `/metrics`, in the text format of Prometheus, and the count of all requests. It needs no credential, like the
 * probes: it names no tenant, and nothing that a caller chose. Keep it from strangers at the proxy.
 */
export function mountMetrics(server: FastifyInstance, metrics: Metrics): void {
  server.addHook('onResponse', async (request, reply) => {
    metrics.countRequest({
      method: request.method,
      route: request.routeOptions.url ?? 'none',
      statusCode: reply.statusCode,
      durationMs: reply.elapsedTime,
    });
  });
  server.get('/metrics', { config: { isPublic: true } }, async (_request, reply) => {
    const { contentType, text } = await metrics.expose();
    return reply.header('content-type', contentType).header('cache-control', 'no-store').send(text);
  });
}
