import type { FastifyInstance } from 'fastify';

export interface Health {
  /** Resolves when everything that a request needs is there; rejects otherwise, and from the moment of draining. */
  readonly checkReady: () => Promise<void>;
}

/** `/healthz`: the process is alive. `/readyz`: it can do its work, so send it traffic. Neither needs a credential. */
export function mountHealth(server: FastifyInstance, health: Health): void {
  const config = { isPublic: true };
  server.get('/healthz', { config }, () => ({ status: 'ok' }));
  server.get('/readyz', { config }, async (_request, reply) => {
    try {
      await health.checkReady();
      return { status: 'ready' };
    } catch {
      return reply.code(503).send({ status: 'not ready' });
    }
  });
}
