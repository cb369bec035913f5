import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import helmet from 'helmet';
import type { Config } from '../config.js';

const HTTPS_ONLY_SECONDS = 31_536_000;

/**
 * Gives every answer the headers of one that is data and no page, and that nothing keeps. Answers that are
 * something else (a page, a file) say so themselves.
 */
export function secureAnswers(server: FastifyInstance, { publicUrl }: Pick<Config, 'publicUrl'>): void {
  // Called by itself and not as Fastify's plugin, which puts the headers together anew for every request.
  const setHeaders = helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    strictTransportSecurity: publicUrl?.startsWith('https:') ? { maxAge: HTTPS_ONLY_SECONDS } : false,
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xFrameOptions: false,
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  });
  server.addHook('onRequest', (request, reply, done) => {
    reply.header('cache-control', 'no-store');
    setHeaders(request.raw, reply.raw, done as () => void);
  });
}

/**
 * The policy of a page that has everything inside: its own inline scripts by their hashes, workers that those
 * make, styles, and connections to this server; nothing from elsewhere.
 */
export function pagePolicy(html: string): string {
  const scripts = [...html.matchAll(/<script\b[^>]*>([\s\S]*?)<\/script>/g)].map(([, script = '']) => script);
  const hashes = scripts.map((script) => `'sha256-${createHash('sha256').update(script).digest('base64')}'`);
  return [
    "default-src 'none'",
    `script-src ${hashes.join(' ')}`,
    "style-src 'unsafe-inline'",
    "img-src 'self' data:",
    'font-src data:',
    "connect-src 'self'",
    'worker-src blob:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}
