import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { pagePolicy } from './security.js';

const DEFAULT_QUERY = `# Parley. Enter your API key above; then this page knows the
# schema, completes what you type and documents every field.
# The play button asks which operation to run.

query Inbox {
  viewer { tenantId scopes }
  threads(first: 10, filter: { status: ACTIVE }) {
    edges {
      node {
        id
        participantId
        unreadCount
        updatedAt
        lastMessage { direction content status }
      }
    }
    pageInfo { hasNextPage endCursor }
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

mutation Send {
  sendOutboundMessage(input: {
    workflowId: "workflow_1"
    participantId: "participant_1"
    channel: "chat"
    channelKey: "participant_1"
    content: { body: "How can I help?" }
  }) {
    message { id position }
  }
}

# Runs on until you stop it; send a message in another tab.
subscription Live {
  messageAdded {
    sequence
    message { direction content thread { participantId } }
  }
}
`;

/** What the headers are before a key is entered. */
const PLACEHOLDER_HEADERS = '{"Authorization": "Bearer <your key>"}';

/**
 * A field for the key, above GraphiQL. GraphiQL asks for the schema once, when it starts, with the headers that it
 * starts with; so the key is kept for the tab, and the page is started again with it.
 */
const KEY_BAR = `
      <style>
        body { display: flex; flex-direction: column; height: 100vh; margin: 0 }
        #root { flex: 1; min-height: 0 }
        #key { display: flex; align-items: center; gap: 8px; padding: 8px 12px; font: 14px system-ui, sans-serif;
          border-bottom: 1px solid #d0d5dd; background: #f6f8fa; color: #24292f }
        #key input { width: 26em; padding: 4px 8px; font: inherit; border: 1px solid #8c959f; border-radius: 4px }
        #key button { padding: 4px 12px; font: inherit; cursor: pointer }
      </style>
      <form id="key">
        <label for="api-key">API key</label>
        <input id="api-key" type="password" autocomplete="off" placeholder="parley_…" />
        <button>Use</button>
        <span id="key-note">or write it into “Headers” below</span>
      </form>
      <script>
        // GraphiQL opens an empty tab beside one whose text was never changed.
        if (!localStorage.getItem('graphiql:query')) localStorage.removeItem('graphiql:tabState');
        const apiKey = sessionStorage.getItem('parley-api-key');
        window.parleyHeaders = apiKey
          ? JSON.stringify({ Authorization: 'Bearer ' + apiKey })
          : ${JSON.stringify(PLACEHOLDER_HEADERS)};
        if (apiKey) document.getElementById('key-note').textContent = 'in use until this tab is closed';
        document.getElementById('key').addEventListener('submit', (event) => {
          event.preventDefault();
          sessionStorage.setItem('parley-api-key', document.getElementById('api-key').value.trim());
          location.reload();
        });
      </script>
`;

interface Page {
  readonly etag: string;
  readonly policy: string;
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
    headers: PLACEHOLDER_HEADERS,
    shouldPersistHeaders: false,
  });
  const patched = addKeyBar(sendKeyOverWebSocket(html));
  const gzipped = await promisify(gzip)(patched, { level: constants.Z_BEST_SPEED });
  return {
    gzipped,
    policy: pagePolicy(patched),
    etag: `"${createHash('sha256').update(gzipped).digest('base64url').slice(0, 20)}"`,
  };
}

/**
 * The page hands the headers of its editor to queries only; a subscription's key travels in the connection
 * parameters, which it leaves empty.
 */
const sendKeyOverWebSocket = (html: string) =>
  patch(
    html,
    /extensions:\{headers:(\w+\?\.headers)\}/,
    (_, headers) => `extensions:{headers:${headers},connectionParams:${headers}}`,
  );

function addKeyBar(html: string): string {
  const given = `"headers":${JSON.stringify(PLACEHOLDER_HEADERS)}`;
  return patch(
    patch(html, '<div id="root"></div>', (root) => `${KEY_BAR}${root}`),
    given,
    () => '"headers":window.parleyHeaders',
  );
}

function patch(
  html: string,
  place: string | RegExp,
  change: (found: string, ...groups: string[]) => string,
): string {
  const patched = html.replace(place, change);
  if (patched === html) throw new Error(`GraphiQL has changed: it has no ${place}`);
  return patched;
}

export async function graphiqlPage(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  page ??= makePage();
  const { etag, policy, gzipped } = await page;
  reply.header('content-security-policy', policy);
  reply.header('etag', etag).header('cache-control', 'no-cache').header('vary', 'accept, accept-encoding');
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  return reply.type('text/html; charset=utf-8').header('content-encoding', 'gzip').send(gzipped);
}
