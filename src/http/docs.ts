import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '../config.js';
import { openApiDocument } from '../rest-compat/openapi.js';
import { restRoutes } from '../rest-compat/routes.js';
import { version } from '../version.js';

// Its addresses are relative, so that it also works below a path of a proxy.
const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Parley: REST</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="docs/swagger-ui.css">
  </head>
  <body>
    <div id="docs"></div>
    <script src="docs/swagger-ui-bundle.js"></script>
    <script src="docs/start.js"></script>
  </body>
</html>
`;

// Without validatorUrl: null the reader would show the document to a service of its makers.
const START = `SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#docs',
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
});
`;

/** Nothing but its own files and requests to its own server; the reader writes styles into its elements. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

interface File {
  readonly type: string;
  readonly text: string;
  readonly gzipped: Buffer;
  readonly etag: string;
}

/** `/openapi.json`, and `/docs`: a page to read and try it, with everything it needs served from here. */
export function mountDocs(server: FastifyInstance, { publicUrl }: Config): void {
  const document = () => openApiDocument(restRoutes, { serverUrl: publicUrl ?? '/', version });
  const files: Record<string, [type: string, text: () => string | Promise<string>]> = {
    '/openapi.json': ['application/json; charset=utf-8', () => JSON.stringify(document())],
    '/docs': ['text/html; charset=utf-8', () => PAGE],
    '/docs/start.js': ['text/javascript; charset=utf-8', () => START],
    '/docs/swagger-ui.css': ['text/css; charset=utf-8', () => readerFile('swagger-ui.css')],
    '/docs/swagger-ui-bundle.js': [
      'text/javascript; charset=utf-8',
      () => readerFile('swagger-ui-bundle.js'),
    ],
  };
  for (const [url, [type, text]] of Object.entries(files)) {
    let file: Promise<File> | undefined;
    server.get(url, { config: { isPublic: true } }, async (request, reply) => {
      file ??= prepare(type, await text());
      return send(request, reply, await file);
    });
  }
}

const readerFile = (name: string) =>
  readFile(fileURLToPath(import.meta.resolve(`swagger-ui-dist/${name}`)), 'utf8');

async function prepare(type: string, text: string): Promise<File> {
  const etag = `"${createHash('sha256').update(text).digest('base64url').slice(0, 20)}"`;
  return { type, text, etag, gzipped: await promisify(gzip)(text) };
}

function send(
  request: FastifyRequest,
  reply: FastifyReply,
  { type, text, gzipped, etag }: File,
): FastifyReply {
  reply
    .header('etag', etag)
    .header('cache-control', 'no-cache')
    .header('vary', [reply.getHeader('vary'), 'accept-encoding'].flat().filter(Boolean).join(', '))
    .header('content-security-policy', CONTENT_SECURITY_POLICY);
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  reply.type(type);
  const takesGzip = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  return takesGzip ? reply.header('content-encoding', 'gzip').send(gzipped) : reply.send(text);
}
