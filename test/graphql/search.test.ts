import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { query as sql } from '../support/query.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const SEARCH = `query ($query: String!, $workflowId: String, $first: Int, $after: String) {
  searchMessages(query: $query, workflowId: $workflowId, first: $first, after: $after) {
    edges { cursor rank node { id content } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

async function send(client: Client, content: object, more: object = {}): Promise<string> {
  const { status, body } = await client.rest('POST', '/inbound', {
    workflowId: 'w',
    participantId: 'p',
    channel: 'chat',
    channelKey: 'k',
    content,
    ...more,
  });
  expect(status).toBe(200);
  return body.messageId;
}

interface Edge {
  cursor: string;
  rank: number;
  node: { id: string; content: { body: string } };
}

const search = async (client: Client, query: string, more: object = {}): Promise<Edge[]> =>
  (await client.data(SEARCH, { query, ...more })).searchMessages.edges;

const bodiesOf = (edges: Edge[]) => edges.map(({ node }) => node.content.body);

describe('searching messages', () => {
  it('finds whole words of any case, all of them, in a row, either, or not', async () => {
    const client = await app.tenant();
    const bodies = [
      'The parcel was lost in Hamburg',
      'A parcel has arrived',
      'Lost: one grey parcel, found: one grey cat',
      'nothing of the kind',
    ];
    for (const body of bodies) await send(client, { body });
    const found = async (query: string) => bodiesOf(await search(client, query)).sort();
    const some = (...indexes: number[]) => indexes.map((index) => bodies[index]).sort();
    expect(await found('PARCEL')).toEqual(some(0, 1, 2));
    expect(await found('parcel lost')).toEqual(some(0, 2));
    expect(await found('"grey cat"')).toEqual(some(2));
    expect(await found('"cat grey"')).toEqual([]);
    expect(await found('hamburg or arrived')).toEqual(some(0, 1));
    expect(await found('parcel -lost')).toEqual(some(1));
    expect(await found('-parcel')).toEqual(some(3));
    expect(await found('parc')).toEqual([]);
  });

  it('looks into everything that was said, and the names of attachments', async () => {
    const client = await app.tenant();
    const email = { workflowId: 'w', participantId: 'p', channel: 'email', channelKey: 'a@example.com' };
    const id = await send(
      client,
      {
        subject: 'Quarterly figures',
        body: 'See below',
        extra: { nested: ['deeply', { more: 'unfathomable' }] },
        attachments: [{ filename: 'balance.pdf', contentType: 'application/pdf', data: 'QQ==' }],
      },
      email,
    );
    for (const word of ['quarterly', 'below', 'unfathomable', 'balance.pdf']) {
      expect((await search(client, word)).map(({ node }) => node.id)).toEqual([id]);
    }
    expect(await search(client, 'QQ')).toEqual([]);
  });

  it('puts the best first, and the newest of equally good ones', async () => {
    const client = await app.tenant();
    await send(client, { body: 'one refund' });
    await send(client, { body: 'refund refund refund' });
    await send(client, { body: 'another refund' });
    const edges = await search(client, 'refund');
    expect(bodiesOf(edges)).toEqual(['refund refund refund', 'another refund', 'one refund']);
    const ranks = edges.map(({ rank }) => rank);
    expect(ranks[0]).toBeGreaterThan(ranks[1]!);
    expect(ranks[1]).toBe(ranks[2]);
  });

  it('finds only within the workflow when one is named', async () => {
    const client = await app.tenant();
    for (const workflowId of ['one', 'other'])
      await send(client, { body: `hello ${workflowId}` }, { workflowId });
    expect(bodiesOf(await search(client, 'hello', { workflowId: 'other' }))).toEqual(['hello other']);
    expect(await search(client, 'hello', { workflowId: 'third' })).toEqual([]);
    expect(await search(client, 'hello')).toHaveLength(2);
  });

  it('finds no message that is gone', async () => {
    const client = await app.tenant();
    await send(client, { body: 'ephemeral' });
    const { threads } = await client.data('{ threads { edges { node { id } } } }');
    await client.rest('DELETE', `/threads/${threads.edges[0].node.id}?permanent=true`);
    expect(await search(client, 'ephemeral')).toEqual([]);
  });

  it('takes whatever is typed', async () => {
    const client = await app.tenant();
    await send(client, { body: 'hello' });
    const typed = [
      ...[
        '!!!',
        '"',
        "'",
        '""',
        '&',
        '|',
        '<->',
        ':*',
        '( )',
        '(((',
        'a & | b',
        "it's",
        '\\',
        '\\\\',
        '%',
        '_',
      ],
      ...[
        'hello:*',
        'hello <-> ',
        '-',
        '--',
        '- -',
        'or',
        'or or',
        '"hello',
        'hello"',
        '-"hello',
        "'; DROP TABLE",
      ],
      ...[
        '🙂',
        'ß',
        '\u202e',
        'x'.repeat(256),
        '-a '.repeat(85),
        '"a" or '.repeat(36),
        ' ',
        '\n\t',
        '$1',
        '$$',
      ],
    ];
    for (const query of typed) {
      const { status, body } = await client.graphql(SEARCH, { query });
      expect([query, status, body.errors]).toEqual([query, 200, undefined]);
    }
    expect(await search(client, '!!!')).toEqual([]);
  });

  it.each([
    ['query', { query: '' }],
    ['query', { query: 'x'.repeat(257) }],
    ['query', { query: 'a\0b' }],
    ['query', { query: 'a\ud800b' }],
    ['workflowId', { query: 'a', workflowId: 'x'.repeat(129) }],
    ['first', { query: 'a', first: 0 }],
    ['first', { query: 'a', first: 101 }],
    ['after', { query: 'a', after: 'garbage' }],
  ])('refuses a wrong %s by name: %j', async (field, variables) => {
    const { body } = await (await app.tenant()).graphql(SEARCH, variables);
    expect(body.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', details: [{ field }] } }]);
  });

  it('pages through what it found without a gap or a repeat, whatever the ranks', async () => {
    const client = await app.tenant();
    const ids = [];
    for (let n = 0; n < 45; n++) ids.push(await send(client, { body: 'needle '.repeat((n % 7) + 1) }));
    const all = await search(client, 'needle', { first: 100 });
    expect(all.map(({ node }) => node.id).sort()).toEqual(ids.sort());
    const ranks = all.map(({ rank }) => rank);
    expect(ranks).toEqual([...ranks].sort((one, other) => other - one));
    expect(new Set(ranks).size).toBe(7);
    const paged: Edge[] = [];
    for (let after: string | null = null; ; ) {
      const { searchMessages } = await client.data(SEARCH, { query: 'needle', first: 10, after });
      expect(searchMessages.pageInfo.hasPreviousPage).toBe(after !== null);
      paged.push(...searchMessages.edges);
      if (!searchMessages.pageInfo.hasNextPage) break;
      after = searchMessages.pageInfo.endCursor;
    }
    expect(paged).toEqual(all);
    const after = all[3]!.cursor;
    for (const other of [{ query: 'needles' }, { query: 'needle', workflowId: 'w' }]) {
      const { body } = await client.graphql(SEARCH, { ...other, after });
      expect(body.errors).toMatchObject([
        { extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'after' }] } },
      ]);
    }
  });

  it('ranks the newest 1,000 of words that more messages have', async () => {
    const client = await app.tenant();
    const first = await send(client, { body: 'common common common' });
    await sql(
      app.databaseUrl,
      `INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content, search, created_at)
       SELECT tenant_id, uuid_v7(), thread_id, 1 + n, direction, channel, channel_key, '{"body": "common"}', to_tsvector('simple', 'common'), now()
       FROM conversation_message, generate_series(1, 1000) AS n WHERE tenant_id = $1`,
      [client.tenantId],
    );
    const ids = new Set<string>();
    for (let after: string | null = null; ; ) {
      const { searchMessages } = await client.data(SEARCH, { query: 'common', first: 100, after });
      for (const { node } of searchMessages.edges) ids.add(node.id);
      if (!searchMessages.pageInfo.hasNextPage) break;
      after = searchMessages.pageInfo.endCursor;
    }
    expect(ids.size).toBe(1_000);
    expect(ids.has(first)).toBe(false);
  });
});
