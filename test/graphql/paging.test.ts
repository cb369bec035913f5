import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeId, newId } from '../../src/ids.js';
import { type Client, startApp, type TestApp } from '../support/app.js';

let app: TestApp;
let database: pg.Client;
beforeAll(async () => {
  app = await startApp();
  database = new pg.Client(app.databaseUrl);
  await database.connect();
});
afterAll(async () => {
  await database.end();
  await app.close();
});

const ROWS = 45;
/** Everything shares one instant, so that nothing but the ids tells rows apart. */
const INSTANT = '2026-01-02T03:04:05.678Z';

/** What lists hang on. */
interface Parents {
  readonly client: Client;
  readonly threadId: string;
  readonly webhookId: string;
  readonly conversationId: number;
}

async function furnish(): Promise<Parents> {
  const client = await app.tenant();
  const [threadId, webhookId] = [newId(), newId()];
  await insertThreads(client.tenantId, 0, threadId);
  await database.query(
    "INSERT INTO webhook (tenant_id, id, url, events, sealed_secret, after_sequence) VALUES ($1, $2, 'http://127.0.0.1:9/', '{}', '', 0)",
    [client.tenantId, webhookId],
  );
  const { rows } = await database.query(
    "INSERT INTO workflow_conversations (tenant_id, workflow_id, created_at) VALUES ($1, 'w', $2) RETURNING id",
    [client.tenantId, INSTANT],
  );
  return { client, threadId, webhookId, conversationId: rows[0].id };
}

/** So many threads beside the first. */
async function insertThreads(tenantId: string, more: number, first = newId()): Promise<void> {
  await database.query(
    `INSERT INTO conversation_thread (tenant_id, id, workflow_id, participant_id, created_at, updated_at, last_position)
     SELECT $1, CASE n WHEN 0 THEN $2::uuid ELSE gen_random_uuid() END, 'w', $2::text || n, $3::timestamptz, $3, 0
     FROM generate_series(0, $4::int) AS n`,
    [tenantId, first, INSTANT, more],
  );
}

interface ConnectionCase {
  /** The field with its page arguments, and how to get to its connection. */
  readonly query: (parents: Parents, page: string) => string;
  readonly path: readonly string[];
  readonly table: string;
  /** Adds rows until there are 45. */
  readonly fill: (parents: Parents) => Promise<unknown>;
  /** What the list is ordered by besides ids, which are compared as the database has them. */
  readonly idOf?: string;
}

const insert = (text: string) => (parents: Parents) =>
  database.query(text, [parents.client.tenantId, INSTANT].slice(0, text.includes('$2') ? 2 : 1));

const root = (field: string, id = 'id') => ({
  query: (_: Parents, page: string) => `{ ${field}(${page}) { ...Page } }`.replace('...Page', selection(id)),
  path: [field],
});

const selection = (id: string) =>
  `edges { cursor node { ${id} } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }`;

const delivery = (kind: string, lane: string, more: string) => `
  INSERT INTO delivery (tenant_id, id, kind, lane_id, in_order, event_sequence, event_type, occurred_at, status, ${more.split('=')[0]})
  SELECT $1, gen_random_uuid(), '${kind}', ${lane}, false, n, 'message.created', now(), 'delivered', ${more.split('=')[1]}
  FROM generate_series(1, ${ROWS}) AS n`;

const connections: Record<string, ConnectionCase> = {
  threads: {
    ...root('threads'),
    table: 'conversation_thread',
    fill: ({ client }) => insertThreads(client.tenantId, ROWS - 2),
  },
  'threads by creation, oldest first': {
    query: (_, page) =>
      `{ threads(orderBy: {field: CREATED_AT, direction: ASC}, ${page}) { ${selection('id')} } }`,
    path: ['threads'],
    table: 'conversation_thread',
    fill: ({ client }) => insertThreads(client.tenantId, ROWS - 2),
  },
  'messages of a thread': {
    query: ({ threadId }, page) =>
      `{ thread(id: "${encodeId('thread', threadId)}") { messages(${page}) { ${selection('id')} } } }`,
    path: ['thread', 'messages'],
    table: 'conversation_message',
    fill: ({ client, threadId }) =>
      database.query(
        `INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content, created_at)
         SELECT $1, gen_random_uuid(), $2, n, 'inbound', 'x', 'k', '{}', now() FROM generate_series(1, ${ROWS}) AS n`,
        [client.tenantId, threadId],
      ),
  },
  workflowConversations: {
    ...root('workflowConversations'),
    table: 'workflow_conversations',
    fill: insert(
      `INSERT INTO workflow_conversations (tenant_id, workflow_id, created_at) SELECT $1, 'w' || n, $2 FROM generate_series(2, ${ROWS}) AS n`,
    ),
  },
  'threads of a conversation': {
    query: ({ conversationId }, page) =>
      `{ workflowConversation(id: ${conversationId}) { threads(${page}) { ${selection('id')} } } }`,
    path: ['workflowConversation', 'threads'],
    table: 'conversation_thread',
    fill: ({ client }) => insertThreads(client.tenantId, ROWS - 2),
  },
  'runs of a conversation': {
    query: ({ conversationId }, page) =>
      `{ workflowConversation(id: ${conversationId}) { agentProductRuns(${page}) { ${selection('id')} } } }`,
    path: ['workflowConversation', 'agentProductRuns'],
    table: 'agent_product_runs',
    fill: ({ client, conversationId }) =>
      database.query(
        `INSERT INTO agent_product_runs (tenant_id, workflow_id, created_at) SELECT $1, $2, $3 FROM generate_series(1, ${ROWS})`,
        [client.tenantId, conversationId, INSTANT],
      ),
  },
  agentProducts: {
    ...root('agentProducts'),
    table: 'agent_products',
    fill: insert(
      `INSERT INTO agent_products (tenant_id, name, created_at) SELECT $1, 'x', $2 FROM generate_series(1, ${ROWS})`,
    ),
  },
  webhooks: {
    ...root('webhooks'),
    table: 'webhook',
    fill: insert(
      `INSERT INTO webhook (tenant_id, id, url, events, sealed_secret, after_sequence)
       SELECT $1, gen_random_uuid(), 'http://127.0.0.1:9/', '{}', '', 0 FROM generate_series(2, ${ROWS})`,
    ),
  },
  'deliveries of a webhook': {
    query: ({ webhookId }, page) =>
      `{ webhook(id: "${encodeId('webhook', webhookId)}") { deliveries(${page}) { ${selection('id')} } } }`,
    path: ['webhook', 'deliveries'],
    table: 'delivery',
    fill: ({ client, webhookId }) =>
      database.query(delivery('webhook', '$2::uuid', 'webhook_id=$2::uuid'), [client.tenantId, webhookId]),
  },
  workflowHandlers: {
    ...root('workflowHandlers'),
    table: 'workflow_handler',
    fill: insert(
      `INSERT INTO workflow_handler (tenant_id, id, workflow_id, kind, url)
       SELECT $1, gen_random_uuid(), 'w' || n, 'http', 'http://127.0.0.1:9/' FROM generate_series(1, ${ROWS}) AS n`,
    ),
  },
  signals: {
    ...root('signals'),
    table: 'delivery',
    fill: ({ client, threadId }) =>
      database.query(delivery('signal', '$2::uuid', 'thread_id=$2::uuid'), [client.tenantId, threadId]),
  },
  apiKeys: {
    ...root('apiKeys'),
    table: 'api_key',
    fill: insert(
      `INSERT INTO api_key (tenant_id, id, name, secret_hash, scopes)
       SELECT $1, gen_random_uuid(), 'x', sha256(gen_random_uuid()::text::bytea), '{}' FROM generate_series(2, ${ROWS})`,
    ),
  },
  searchMessages: {
    query: (_, page) => `{ searchMessages(query: "-nothing", ${page}) { ${selection('id')} } }`,
    path: ['searchMessages'],
    table: 'conversation_message',
    fill: ({ client, threadId }) =>
      database.query(
        `INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content, search, created_at)
         SELECT $1, gen_random_uuid(), $2, n, 'inbound', 'x', 'k', '{}', to_tsvector('simple', 'x'), now()
         FROM generate_series(1, ${ROWS}) AS n`,
        [client.tenantId, threadId],
      ),
  },
};

interface Page {
  edges: { cursor: string; node: { id: string | number } }[];
  pageInfo: {
    hasNextPage: boolean;
    hasPreviousPage: boolean;
    startCursor: string | null;
    endCursor: string | null;
  };
}

const ask = ({ query }: ConnectionCase, parents: Parents, page: string) =>
  parents.client.graphql(query(parents, page));

async function pageOf(list: ConnectionCase, parents: Parents, page: string): Promise<Page> {
  const { body } = await ask(list, parents, page);
  expect(body.errors).toBeUndefined();
  // biome-ignore lint/suspicious/noExplicitAny: an answer of any shape
  return list.path.reduce((found: any, field) => found[field], body.data);
}

const idsOf = ({ edges }: Page) => edges.map(({ node }) => node.id);

async function walkForward(list: ConnectionCase, parents: Parents, size: number) {
  const ids: (string | number)[] = [];
  for (let after: string | null = null; ; ) {
    const page: Page = await pageOf(list, parents, `first: ${size}${after ? `, after: "${after}"` : ''}`);
    expect(page.pageInfo.hasPreviousPage).toBe(after !== null);
    expect(page.pageInfo.startCursor).toBe(page.edges[0]?.cursor ?? null);
    ids.push(...idsOf(page));
    after = page.pageInfo.endCursor;
    if (!page.pageInfo.hasNextPage) return ids;
    expect(page.edges).toHaveLength(size);
  }
}

async function walkBackward(list: ConnectionCase, parents: Parents, size: number) {
  const ids: (string | number)[] = [];
  for (let before: string | null = null; ; ) {
    const page: Page = await pageOf(list, parents, `last: ${size}${before ? `, before: "${before}"` : ''}`);
    expect(page.pageInfo.hasNextPage).toBe(before !== null);
    expect(page.pageInfo.endCursor).toBe(page.edges.at(-1)?.cursor ?? null);
    ids.unshift(...idsOf(page));
    before = page.pageInfo.startCursor;
    if (!page.pageInfo.hasPreviousPage) return ids;
    expect(page.edges).toHaveLength(size);
  }
}

/** Deletes the row that a list shows under this id, behind Parley's back. */
async function remove({ table }: ConnectionCase, { client }: Parents, id: string | number): Promise<void> {
  const { rows } = await database.query(`SELECT id FROM ${table} WHERE tenant_id = $1`, [client.tenantId]);
  const nouns = ['thread', 'message', 'webhook', 'delivery', 'signal', 'handler', 'key'] as const;
  const row = rows.find((found) =>
    typeof id === 'number'
      ? found.id === id
      : nouns.some((noun) => id.startsWith(noun) && encodeId(noun, found.id) === id),
  );
  const { rowCount } = await database.query(`DELETE FROM ${table} WHERE tenant_id = $1 AND id = $2`, [
    client.tenantId,
    row.id,
  ]);
  expect(rowCount).toBe(1);
}

const cases = Object.entries(connections);
const bothWays = cases.filter(([name]) => name !== 'searchMessages');

describe('a connection', () => {
  it.each(cases)('of %s is paged forward without a gap or a repeat', async (_name, list) => {
    const parents = await furnish();
    await list.fill(parents);
    const all = idsOf(await pageOf(list, parents, 'first: 100'));
    expect(new Set(all).size).toBe(ROWS);
    for (const size of [1, 7, ROWS]) expect(await walkForward(list, parents, size)).toEqual(all);
  });

  it.each(bothWays)('of %s is paged backward without a gap or a repeat', async (_name, list) => {
    const parents = await furnish();
    await list.fill(parents);
    const all = idsOf(await pageOf(list, parents, 'first: 100'));
    for (const size of [7, ROWS]) expect(await walkBackward(list, parents, size)).toEqual(all);
    const ahead = await pageOf(list, parents, 'first: 10');
    const between = await pageOf(
      list,
      parents,
      `first: 3, after: "${ahead.edges[2]?.cursor}", before: "${ahead.edges[8]?.cursor}"`,
    );
    expect(idsOf(between)).toEqual(all.slice(3, 6));
    expect(between.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: true });
  });

  it.each(cases)('of %s goes on behind a row that was deleted', async (_name, list) => {
    const parents = await furnish();
    await list.fill(parents);
    const all = idsOf(await pageOf(list, parents, 'first: 100'));
    const page = await pageOf(list, parents, 'first: 10');
    // The key that asks is the oldest, at the other end.
    await remove(list, parents, all[9]!);
    const next = await pageOf(list, parents, `first: 10, after: "${page.pageInfo.endCursor}"`);
    expect(idsOf(next)).toEqual(all.slice(10, 20));
    if (list.path.includes('searchMessages')) return;
    const previous = await pageOf(list, parents, `last: 5, before: "${page.pageInfo.endCursor}"`);
    expect(idsOf(previous)).toEqual(all.slice(4, 9));
  });

  it.each(cases)('of %s refuses wrong sizes and foreign cursors', async (name, list) => {
    const [parents, others] = await Promise.all([furnish(), furnish()]);
    await Promise.all([list.fill(parents), list.fill(others)]);
    const foreign = (await pageOf(list, others, 'first: 1')).pageInfo.endCursor;
    const own = (await pageOf(list, parents, 'first: 1')).pageInfo.endCursor ?? '';
    const elsewhere = connections[name === 'agentProducts' ? 'apiKeys' : 'agentProducts']!;
    await elsewhere.fill(parents);
    const ofAnother = (await pageOf(elsewhere, parents, 'first: 1')).pageInfo.endCursor;
    const forged = (values: unknown[]) => {
      const [fingerprint] = JSON.parse(Buffer.from(own, 'base64url').toString());
      return Buffer.from(JSON.stringify([fingerprint, ...values])).toString('base64url');
    };
    const wrong: [field: string, page: string][] = [
      ...[0, -1, 101, 2_147_483_647].map((size): [string, string] => ['first', `first: ${size}`]),
      ...[
        '',
        'garbage',
        own.slice(2),
        `${own}${own}`,
        foreign,
        ofAnother,
        forged([]),
        forged(['x']),
        forged([{}, []]),
        forged(['2026-01-02T03:04:05.678Z', '00000000-0000-0000-0000-00000000000x']),
        forged([1e300, 2 ** 40]),
        'x'.repeat(100_000),
      ].map((cursor): [string, string] => ['after', `first: 5, after: "${cursor}"`]),
    ];
    if (name !== 'searchMessages') {
      wrong.push(['last', 'last: 0'], ['last', 'last: -1'], ['last', 'last: 101']);
      wrong.push(['last', 'first: 1, last: 1'], ['before', 'last: 5, before: "garbage"']);
      wrong.push(['before', `last: 5, before: "${foreign}"`]);
    }
    for (const [field, page] of wrong) {
      const { status, body } = await ask(list, parents, page);
      expect([page, status, body.errors]).toMatchObject([
        page,
        200,
        [{ extensions: { code: 'BAD_USER_INPUT', details: [{ field }] } }],
      ]);
    }
  });

  it('of threads that share one instant is paged both ways through all 1,000', async () => {
    const list = connections.threads!;
    const parents = await furnish();
    await insertThreads(parents.client.tenantId, 998);
    const forward = await walkForward(list, parents, 30);
    expect(new Set(forward).size).toBe(1_000);
    expect(await walkBackward(list, parents, 100)).toEqual(forward);
    expect(await walkForward(list, parents, 100)).toEqual(forward);
  });
});
