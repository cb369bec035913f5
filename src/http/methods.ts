import { METHODS } from 'node:http';
import type { FastifyInstance, HTTPMethods } from 'fastify';
import { ParleyError } from '../errors.js';

/**
 * Makes every method that is not mounted on a mounted path a 405 that says which are, for who may use the path.
 * Begin before the first route, and call what it returns after the last.
 */
export function refuseOtherMethods(server: FastifyInstance): () => void {
  // CONNECT never becomes a request here (see `raw-answers.ts`).
  for (const method of METHODS.filter((name) => name !== 'CONNECT')) {
    if (!server.supportedMethods.includes(method)) server.addHttpMethod(method);
  }
  const mounted = new Map<string, { methods: Set<string>; isPublic: boolean }>();
  server.addHook('onRoute', ({ url, method, config }) => {
    const { isPublic = false } = (config ?? {}) as { isPublic?: boolean };
    const { methods } = mounted.get(url) ?? { methods: [] };
    mounted.set(url, { methods: new Set([...methods, ...[method].flat()]), isPublic });
  });

  return () => {
    for (const [url, { methods, isPublic }] of [...mounted].filter(([path]) => path !== '*')) {
      // HEAD goes without saying where there is GET.
      const allowed = [...methods].filter((method) => method !== 'HEAD').join(', ');
      server.route({
        method: server.supportedMethods.filter((method) => !methods.has(method)) as HTTPMethods[],
        url,
        config: { isPublic },
        exposeHeadRoute: false,
        // Before the body is read: what is in it cannot matter any more.
        onRequest(_request, reply, done) {
          void reply.header('allow', allowed);
          done(new ParleyError('method_not_allowed', `This path takes ${allowed}`));
        },
        handler() {},
      });
    }
  };
}
