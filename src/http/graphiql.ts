import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { FastifyReply, FastifyRequest } from 'fastify';

const DEFAULT_QUERY = `# Parley. Put your API key into "Headers" below:
#   { "authorization": "Bearer parley_..." }
# "Re-fetch GraphQL schema", at the lower left, then
# brings the documentation and completion.

query Threads {
  viewer { tenantId scopes }
  threads(first: 10) {
    edges {
      node {
        id
        workflowId
        participantId
        status
        updatedAt
        lastMessage { direction content status }
      }
    }
  }
}

mutation Receive {
  receiveInboundMessage(input: {
    workflowId: "workflow_1"
    participantId: "participant_1"
    channel: "chat"
    channelKey: "participant_1"
    content: { body: "Hello" }
  }) {
    message { id position }
  }
}

subscription Live {
  messageAdded {
    sequence
    message { direction content thread { participantId } }
  }
}
`;

interface Page {
  readonly etag: string;
  readonly gzipped: Buffer;
}

let page: Promise<Page> | null = null;

/** GraphiQL with everything it needs inside the page, so that it works without internet. Compressed once. */
async function makePage(): Promise<Page> {
  // 9 MB of text, so only when somebody looks at it.
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql');
  const html = renderGraphiQL({
    title: 'Parley GraphiQL',
    endpoint: '/graphql',
    subscriptionsProtocol: 'WS',
    defaultQuery: DEFAULT_QUERY,
    headers: '{ "authorization": "Bearer " }',
    shouldPersistHeaders: false,
  });
  const gzipped = await promisify(gzip)(sendKeyOverWebSocket(html), { level: constants.Z_BEST_SPEED });
  return { gzipped, etag: `"${createHash('sha256').update(gzipped).digest('base64url').slice(0, 20)}"` };
}

/**
 * The page hands the headers of its editor to queries only; a subscription's key travels in the connection
 * parameters, which it leaves empty.
 */
function sendKeyOverWebSocket(html: string): string {
  const patched = html.replace(
    /extensions:\{headers:(\w+\?\.headers)\}/,
    'extensions:{headers:$1,connectionParams:$1}',
  );
  if (patched === html) throw new Error('GraphiQL has changed: its subscriptions would get no key');
  return patched;
}

export async function graphiqlPage(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  page ??= makePage();
  const { etag, gzipped } = await page;
  reply.header('etag', etag).header('cache-control', 'no-cache').header('vary', 'accept, accept-encoding');
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  return reply.type('text/html; charset=utf-8').header('content-encoding', 'gzip').send(gzipped);
}
