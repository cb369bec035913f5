import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { renderGraphiQL } from '@graphql-yoga/render-graphiql';
import type { FastifyReply, FastifyRequest } from 'fastify';

const DEFAULT_QUERY = `# Parley. Put your API key into "Headers" below:
#   { "authorization": "Bearer parley_..." }

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
  const html = renderGraphiQL({
    title: 'Parley GraphiQL',
    endpoint: '/graphql',
    subscriptionsProtocol: 'WS',
    defaultQuery: DEFAULT_QUERY,
    headers: '{ "authorization": "Bearer " }',
    shouldPersistHeaders: false,
  });
  const gzipped = await promisify(gzip)(html, { level: constants.Z_BEST_SPEED });
  return { gzipped, etag: `"${createHash('sha256').update(gzipped).digest('base64url').slice(0, 20)}"` };
}

export async function graphiqlPage(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  page ??= makePage();
  const { etag, gzipped } = await page;
  reply.header('etag', etag).header('cache-control', 'no-cache').header('vary', 'accept, accept-encoding');
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  return reply.type('text/html; charset=utf-8').header('content-encoding', 'gzip').send(gzipped);
}
