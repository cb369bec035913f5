import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeId, encodeId, newId } from '../../src/ids.js';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { commitWhenAwaited } from '../support/query.js';
import { eventually, type Received, startReceiver } from '../support/receiver.js';

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

const message = {
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'chat',
  channelKey: 'key_1',
  content: { body: 'Hello' },
};

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

async function post(client: Client, path: '/inbound' | '/outbound', change: object = {}) {
  const { status, body } = await client.rest('POST', path, { ...message, ...change });
  expect({ status, error: body.error }).toEqual({ status: 200 });
  return body as { threadId: string; messageId: string; position: number; createdAt: string };
}
const receive = (client: Client, change: object = {}) => post(client, '/inbound', change);
const send = (client: Client, change: object = {}) => post(client, '/outbound', change);

/** Threads of participants p1, p2 …, in the order in which they were made. */
async function threadsOf(client: Client, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 1; n <= count; n++) ids.push((await receive(client, { participantId: `p${n}` })).threadId);
  return ids;
}

const setUpdatedAt = (threadId: string, updatedAt: string) =>
  database.query('UPDATE conversation_thread SET updated_at = $2, created_at = $2 WHERE id = $1', [
    decodeId('thread', threadId),
    updatedAt,
  ]);

const idsOf = (rows: { id: string }[]) => rows.map(({ id }) => id);

/** Every event type of a tenant's log, in order. */
async function eventsOf({ tenantId }: Client): Promise<string[]> {
  const { rows } = await database.query(
    'SELECT type, sequence FROM event WHERE tenant_id = $1 ORDER BY sequence',
    [tenantId],
  );
  expect(rows.map(({ sequence }) => Number(sequence))).toEqual(rows.map((_, index) => index + 1));
  return rows.map(({ type }) => type);
}

describe('GET /threads', () => {
  it('pages by number, latest first, and says whether there are more', async () => {
    const client = await app.tenant();
    const newestFirst = (await threadsOf(client, 5)).reverse();
    for (const [page, expected, hasMore] of [
      [1, newestFirst.slice(0, 2), true],
      [2, newestFirst.slice(2, 4), true],
      [3, newestFirst.slice(4), false],
      [4, [], false],
      [1_000_000, [], false],
    ] as const) {
      const { status, body } = await client.rest('GET', `/threads?page=${page}&pageSize=2`);
      expect(status).toBe(200);
      expect({ ...body, threads: idsOf(body.threads) }).toEqual({
        threads: expected,
        page,
        pageSize: 2,
        hasMore,
      });
    }
    const exact = await client.rest('GET', '/threads?pageSize=5');
    expect([exact.body.threads.length, exact.body.hasMore]).toEqual([5, false]);
  });

  it('gives twenty at first, and the documented members', async () => {
    const client = await app.tenant();
    await threadsOf(client, 21);
    const { body } = await client.rest('GET', '/threads');
    expect([body.threads.length, body.page, body.pageSize, body.hasMore]).toEqual([20, 1, 20, true]);
    expect(body.threads[0]).toEqual({
      id: expect.stringMatching(/^thread_[0-9a-z]{26}$/),
      workflowId: 'workflow_1',
      tenantId: client.tenantId,
      participantId: 'p21',
      createdAt: expect.stringMatching(TIME),
      updatedAt: expect.stringMatching(TIME),
      status: 'active',
      metadata: {},
    });
  });

  it('orders threads that were changed at the same moment by id', async () => {
    const client = await app.tenant();
    const ids = await threadsOf(client, 6);
    for (const id of ids) await setUpdatedAt(id, '2026-01-01T00:00:00Z');
    const seen: string[] = [];
    for (const page of [1, 2, 3]) {
      seen.push(...idsOf((await client.rest('GET', `/threads?page=${page}&pageSize=2`)).body.threads));
    }
    expect(seen).toEqual(ids.reverse());
  });

  it('puts a thread first when it gets a message or is changed', async () => {
    const client = await app.tenant();
    const [first, second, third] = (await threadsOf(client, 3)) as [string, string, string];
    const order = async () => idsOf((await client.rest('GET', '/threads')).body.threads);
    await send(client, { participantId: 'p1' });
    expect(await order()).toEqual([first, third, second]);
    await client.rest('PUT', `/threads/${second}`, { metadata: { a: 1 } });
    expect(await order()).toEqual([second, first, third]);
  });

  it('filters by workflow, participant and status, all at once', async () => {
    const client = await app.tenant();
    const made = async (workflowId: string, participantId: string) =>
      (await receive(client, { workflowId, participantId })).threadId;
    const [ax, ay, bx] = [await made('a', 'x'), await made('a', 'y'), await made('b', 'x')];
    await client.rest('PUT', `/threads/${ay}`, { status: 'closed' });
    await client.rest('DELETE', `/threads/${bx}`);
    for (const [query, expected] of [
      ['workflowId=a', [ax, ay]],
      ['participantId=x', [ax, bx]],
      ['workflowId=a&participantId=x', [ax]],
      ['status=active', [ax]],
      ['status=closed', [ay]],
      ['status=archived', [bx]],
      ['status=archived&workflowId=b&participantId=x', [bx]],
      ['status=closed&workflowId=b', []],
      ['workflowId=A', []],
      ['workflowId=a%25', []],
    ] as const) {
      const { body } = await client.rest('GET', `/threads?${query}`);
      expect([query, idsOf(body.threads).sort()]).toEqual([query, [...expected].sort()]);
    }
  });

  it('gives a cursor from which subscriptions go on', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    for (const path of ['/threads', `/threads/${threadId}`]) {
      const { headers } = await client.rest('GET', path);
      expect(headers.get('x-event-cursor')).toBe((await client.data('{ eventCursor }')).eventCursor);
    }
  });
});

describe('GET /threads/{threadId}', () => {
  it('gives the thread with its messages and their logs', async () => {
    const client = await app.tenant();
    const inbound = await receive(client, { metadata: { from: 'adapter' } });
    const outbound = await send(client, { content: { body: 'Yes?', list: [1, { a: null }] } });
    const { updateMessageStatus } = await client.data(
      'mutation ($id: ID!) { updateMessageStatus(input: {messageId: $id, status: DELIVERED, details: {by: "carrier"}}) { message { status } } }',
      { id: outbound.messageId },
    );
    expect(updateMessageStatus.message.status).toBe('DELIVERED');
    const { status, body } = await client.rest('GET', `/threads/${inbound.threadId}`);
    expect(status).toBe(200);
    const created = { timestamp: expect.stringMatching(TIME), event: 'created', details: null };
    expect(body).toEqual({
      id: inbound.threadId,
      workflowId: 'workflow_1',
      tenantId: client.tenantId,
      participantId: 'participant_1',
      createdAt: inbound.createdAt,
      updatedAt: outbound.createdAt,
      status: 'active',
      metadata: {},
      messages: [
        {
          id: inbound.messageId,
          threadId: inbound.threadId,
          position: 1,
          channel: 'chat',
          channelKey: 'key_1',
          createdAt: inbound.createdAt,
          direction: 'inbound',
          content: { body: 'Hello' },
          status: 'sent',
          metadata: { from: 'adapter' },
          logs: [created],
        },
        {
          id: outbound.messageId,
          threadId: inbound.threadId,
          position: 2,
          channel: 'chat',
          channelKey: 'key_1',
          createdAt: outbound.createdAt,
          direction: 'outbound',
          content: { body: 'Yes?', list: [1, { a: null }] },
          status: 'delivered',
          metadata: {},
          logs: [
            created,
            { timestamp: expect.stringMatching(TIME), event: 'delivered', details: { by: 'carrier' } },
          ],
        },
      ],
      messagesPage: { page: 1, pageSize: 100, hasMore: false },
    });
  });

  it('pages through the messages by position', async () => {
    const client = await app.tenant();
    let threadId = '';
    for (let n = 0; n < 5; n++) ({ threadId } = await receive(client));
    for (const [page, positions, hasMore] of [
      [1, [1, 2], true],
      [2, [3, 4], true],
      [3, [5], false],
      [4, [], false],
    ] as const) {
      const { body } = await client.rest('GET', `/threads/${threadId}?page=${page}&pageSize=2`);
      expect(body.messages.map(({ position }: { position: number }) => position)).toEqual(positions);
      expect(body.messagesPage).toEqual({ page, pageSize: 2, hasMore });
    }
  });
});

describe('PUT /threads/{threadId}', () => {
  it('sets what it was given, whatever another one sets while it waits', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    const answer = await commitWhenAwaited(
      app.databaseUrl,
      `UPDATE conversation_thread SET status = 'closed', metadata = '{"a": 1}' WHERE id = $1`,
      [decodeId('thread', threadId)],
      () => client.rest('PUT', `/threads/${threadId}`, { status: 'active', metadata: {} }),
    );
    for (const { status, body } of [answer, await client.rest('GET', `/threads/${threadId}`)]) {
      expect([status, body.status, body.metadata]).toEqual([200, 'active', {}]);
    }
  });

  it('sets status and metadata, and leaves what is not given', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    const put = async (body: object) => {
      const answer = await client.rest('PUT', `/threads/${threadId}`, body);
      expect(answer.status).toBe(200);
      return [answer.body.status, answer.body.metadata];
    };
    expect(await put({ status: 'archived', metadata: { priority: 'high', category: 'support' } })).toEqual([
      'archived',
      { priority: 'high', category: 'support' },
    ]);
    expect(await put({ metadata: { only: null } })).toEqual(['archived', { only: null }]);
    expect(await put({ status: 'closed' })).toEqual(['closed', { only: null }]);
    expect(await put({ metadata: {}, status: null })).toEqual(['closed', {}]);
    expect(await put({ status: 'active', id: 'other', workflowId: 'other', createdAt: 'never' })).toEqual([
      'active',
      {},
    ]);
    const { body } = await client.rest('GET', `/threads/${threadId}`);
    expect(body).toMatchObject({ id: threadId, workflowId: 'workflow_1', status: 'active', metadata: {} });
    expect(await eventsOf(client)).toEqual([
      'thread.created',
      'message.created',
      ...Array(5).fill('thread.updated'),
    ]);
  });

  it('appends no event and moves no time when nothing changes', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    const first = await client.rest('PUT', `/threads/${threadId}`, {
      status: 'closed',
      metadata: { a: 1, b: 2 },
    });
    const again = await client.rest('PUT', `/threads/${threadId}`, {
      status: 'closed',
      metadata: { b: 2, a: 1 },
    });
    expect(again.body).toEqual(first.body);
    expect(await eventsOf(client)).toEqual(['thread.created', 'message.created', 'thread.updated']);
  });

  it('keeps the last of parallel changes, whole', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        client.rest('PUT', `/threads/${threadId}`, { metadata: { n, also: n } }),
      ),
    );
    for (const { status, body } of answers)
      expect([status, body.metadata.also]).toEqual([200, body.metadata.n]);
    expect((await eventsOf(client)).filter((type) => type === 'thread.updated')).toHaveLength(20);
  });
});

describe('DELETE /threads/{threadId}', () => {
  it('archives, once, and keeps everything', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    const first = await client.rest('DELETE', `/threads/${threadId}`);
    expect([first.status, first.body.status]).toEqual([200, 'archived']);
    const again = await client.rest('DELETE', `/threads/${threadId}?permanent=false`);
    expect([again.status, again.body]).toEqual([200, first.body]);
    expect((await client.rest('GET', `/threads/${threadId}`)).body.messages).toHaveLength(1);
    expect(await eventsOf(client)).toEqual(['thread.created', 'message.created', 'thread.updated']);
  });

  it('with permanent=true deletes thread, messages and logs; then there is a 404 for everything', async () => {
    const client = await app.tenant();
    const other = await receive(client, { participantId: 'other' });
    const { threadId, messageId } = await receive(client, { metadata: { a: 1 } });
    const answer = await client.rest('DELETE', `/threads/${threadId}?permanent=true`);
    expect([answer.status, answer.body]).toEqual([200, { id: threadId, deleted: true }]);
    for (const [method, body] of [['GET'], ['PUT', { status: 'closed' }], ['DELETE']] as const) {
      expect((await client.rest(method, `/threads/${threadId}`, body)).status).toBe(404);
    }
    expect((await client.rest('DELETE', `/threads/${threadId}?permanent=true`)).status).toBe(404);
    expect(
      (await client.rest('POST', '/outbound', { threadId, content: {}, channel: 'x', channelKey: 'k' }))
        .status,
    ).toBe(404);
    expect(
      await client.data(
        'query ($t: ID!, $m: ID!) { thread(id: $t) { id } message(id: $m) { id } node(id: $m) { id } }',
        { t: threadId, m: messageId },
      ),
    ).toEqual({ thread: null, message: null, node: null });
    expect(idsOf((await client.rest('GET', '/threads')).body.threads)).toEqual([other.threadId]);
    for (const table of [
      'conversation_message',
      'conversation_message_log',
      'conversation_thread_channel',
      'conversation_thread',
    ]) {
      const { rows } = await database.query(`SELECT count(*)::int AS n FROM ${table} WHERE tenant_id = $1`, [
        client.tenantId,
      ]);
      expect([table, rows[0].n]).toEqual([table, 1]);
    }
    // The log keeps what happened, and the last entry what the thread was.
    expect((await eventsOf(client)).slice(2)).toEqual([
      'thread.created',
      'message.created',
      'thread.deleted',
    ]);
    const { rows } = await database.query(
      "SELECT data FROM event WHERE tenant_id = $1 AND type = 'thread.deleted'",
      [client.tenantId],
    );
    expect(rows[0].data).toMatchObject({ status: 'active', messageCount: 1 });
  });

  it('cancels what was still to be sent, and tells the webhooks', async () => {
    const client = await app.tenant();
    const broken = await startReceiver((_, response) => void response.writeHead(500).end());
    const told = await startReceiver();
    const webhook = await client.rest('POST', '/outbound/webhook', {
      url: broken.url,
      events: ['message.created'],
    });
    await client.rest('POST', '/outbound/webhook', { url: told.url, events: ['thread.deleted'] });
    const { threadId, messageId } = await receive(client, { metadata: { a: 1 } });
    await send(client);
    await broken.waitFor(1);
    const { message: stored } = await client.data('query ($id: ID!) { message(id: $id) { signal { id } } }', {
      id: messageId,
    });
    await client.rest('PUT', `/threads/${threadId}`, { metadata: { kept: 'in the snapshot' } });
    await client.rest('DELETE', `/threads/${threadId}?permanent=true`);

    const [deleted] = await told.waitFor(1);
    expect(deleted?.body).toEqual({
      event: 'thread.deleted',
      threadId,
      tenantId: client.tenantId,
      workflowId: 'workflow_1',
      participantId: 'participant_1',
      status: 'active',
      metadata: { kept: 'in the snapshot' },
      timestamp: expect.stringMatching(TIME),
      signature: expect.any(String),
    });
    const { node, webhook: found } = await client.data(
      `query ($signal: ID!, $webhook: ID!) {
        node(id: $signal) { ... on Signal { status message { id } nextAttemptAt } }
        webhook(id: $webhook) { deliveries { edges { node { status message { id } thread { id } nextAttemptAt attempts { error } } } } }
      }`,
      { signal: stored.signal.id, webhook: webhook.body.id },
    );
    expect(node).toEqual({ status: 'CANCELLED', message: null, nextAttemptAt: null });
    expect(found.deliveries.edges).toEqual([
      {
        node: {
          status: 'CANCELLED',
          message: null,
          thread: null,
          nextAttemptAt: null,
          attempts: [{ error: 'http_500' }],
        },
      },
    ]);
  });

  it('lets a new thread of the same participant begin at position 1', async () => {
    const client = await app.tenant();
    const first = await receive(client);
    await client.rest('DELETE', `/threads/${first.threadId}?permanent=true`);
    const second = await receive(client);
    expect(second.position).toBe(1);
    expect(second.threadId).not.toBe(first.threadId);
  });

  it('deletes a thread of thousands of messages', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    await database.query(
      `INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content, created_at)
       SELECT $1, gen_random_uuid(), $2, n, 'inbound', 'x', 'k', '{}', now() FROM generate_series(2, 2500) n`,
      [client.tenantId, decodeId('thread', threadId)],
    );
    expect((await client.rest('DELETE', `/threads/${threadId}?permanent=true`)).status).toBe(200);
    expect((await client.rest('GET', `/threads/${threadId}`)).status).toBe(404);
  });

  it('is done by one of two who ask at once', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => client.rest('DELETE', `/threads/${threadId}?permanent=true`)),
    );
    for (const { status } of answers) expect([200, 404]).toContain(status);
    expect(answers.some(({ status }) => status === 200)).toBe(true);
    expect((await eventsOf(client)).filter((type) => type === 'thread.deleted')).toHaveLength(1);
  });
});

describe('a message to a thread that is not active', () => {
  it.each(
    (['archived', 'closed'] as const).flatMap((status) =>
      (['/inbound', '/outbound', '/outbound by thread'] as const).map((path) => [status, path] as const),
    ),
  )('%s makes it active again: POST %s', async (status, path) => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { threadId } = await receive(client);
    await client.rest('PUT', `/threads/${threadId}`, { status, metadata: { kept: true } });
    await client.rest('POST', '/outbound/webhook', {
      url: receiver.url,
      events: ['thread.created', 'thread.updated', 'message.created'],
    });
    if (path === '/outbound by thread') {
      const { body } = await client.rest('POST', '/outbound', { threadId, content: { body: 'x' } });
      expect(body.threadId).toBe(threadId);
    } else expect((await post(client, path)).threadId).toBe(threadId);
    const { body } = await client.rest('GET', `/threads/${threadId}`);
    expect([body.status, body.metadata]).toEqual(['active', { kept: true }]);

    const isUpdate = (received: Received) => received.body.event === 'thread.updated';
    const [updated] = await receiver.waitFor(1, isUpdate);
    expect(updated?.body).toMatchObject({ threadId, status: 'active', metadata: { kept: true } });
    // The thread is active before its message is there. (Status moves come when the webhook answers.)
    const relevant = async () =>
      (await eventsOf(client)).slice(3).filter((type) => /^thread|created$/.test(type));
    expect(await relevant()).toEqual(['thread.updated', 'message.created']);
    await send(client);
    expect(await relevant()).toEqual(['thread.updated', 'message.created', 'message.created']);
  });

  it('is one update for many messages at once', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    await client.rest('PUT', `/threads/${threadId}`, { status: 'closed' });
    await Promise.all(Array.from({ length: 20 }, () => receive(client)));
    expect((await eventsOf(client)).slice(3).filter((type) => type === 'thread.updated')).toHaveLength(1);
  });
});

describe('POST /outbound', () => {
  it('by thread takes channel and key of the last inbound message', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client, {
      channel: 'email',
      channelKey: 'old@example.com',
      content: { body: 'x' },
    });
    await receive(client, { channel: 'sms', channelKey: '+1' });
    await send(client, { channel: 'voice', channelKey: '+2', content: { transcript: 'x' } });
    const placed = async (body: object) => {
      const answer = await client.rest('POST', '/outbound', { content: { body: 'x' }, ...body });
      expect(answer.status).toBe(200);
      const { message: stored } = await client.data(
        'query ($id: ID!) { message(id: $id) { channel channelKey threadId } }',
        { id: answer.body.messageId },
      );
      expect(stored.threadId).toBe(threadId);
      return [stored.channel, stored.channelKey];
    };
    const address = { workflowId: 'workflow_1', participantId: 'participant_1' };
    expect(await placed({ threadId })).toEqual(['sms', '+1']);
    expect(await placed(address)).toEqual(['sms', '+1']);
    expect(await placed({ threadId, channelKey: '+3' })).toEqual(['sms', '+3']);
    expect(await placed({ threadId, channel: 'sms' })).toEqual(['sms', '+1']);
    expect(await placed({ threadId, channel: 'email', channelKey: 'new@example.com' })).toEqual([
      'email',
      'new@example.com',
    ]);
    expect(await placed({ ...address, channel: 'x', channelKey: 'y' })).toEqual(['x', 'y']);
  });

  it('by workflow and participant creates the thread', async () => {
    const client = await app.tenant();
    const sent = await send(client);
    expect(sent.position).toBe(1);
    expect(await eventsOf(client)).toEqual(['thread.created', 'message.created']);
    expect((await receive(client)).threadId).toBe(sent.threadId);
  });

  it.each<[string, object, string[]]>([
    ['a channel when there was no inbound message', { threadId: 'outbound only' }, ['channel', 'channelKey']],
    [
      'a key when the channel is not that of the last inbound message',
      { threadId: 'of chat', channel: 'sms' },
      ['channelKey'],
    ],
    [
      'a key when there was no inbound message',
      { threadId: 'outbound only', channel: 'chat' },
      ['channelKey'],
    ],
    ['a channel for nobody yet', { workflowId: 'w', participantId: 'nobody' }, ['channel', 'channelKey']],
    [
      'content for the channel that is taken over',
      { threadId: 'of chat', content: { text: 'x' } },
      ['content.body'],
    ],
  ])('is a 400 that asks for %s', async (_case, body, fields) => {
    const client = await app.tenant();
    const threads: Record<string, string> = {
      'outbound only': (await send(client, { participantId: 'out' })).threadId,
      'of chat': (await receive(client, { participantId: 'in' })).threadId,
    };
    const before = await eventsOf(client);
    const given = { content: { body: 'x' }, ...body } as { threadId?: string };
    const answer = await client.rest('POST', '/outbound', {
      ...given,
      ...(given.threadId && { threadId: threads[given.threadId] }),
    });
    expect(answer.status).toBe(400);
    expect(answer.body.error.details.map(({ field }: { field: string }) => field)).toEqual(fields);
    expect(await eventsOf(client)).toEqual(before);
  });

  it('is a 404 for a thread that is none', async () => {
    const client = await app.tenant();
    for (const threadId of [encodeId('thread', newId()), 'x', encodeId('message', newId())]) {
      const { status } = await client.rest('POST', '/outbound', {
        threadId,
        content: {},
        channel: 'x',
        channelKey: 'k',
      });
      expect(status).toBe(404);
    }
  });
});

describe('positions', () => {
  it('have no gaps under parallel messages of both directions', async () => {
    const client = await app.tenant();
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, n) => post(client, n % 2 ? '/inbound' : '/outbound')),
    );
    expect(new Set(answers.map(({ threadId }) => threadId)).size).toBe(1);
    const positions = answers.map(({ position }) => position).sort((x, y) => x - y);
    expect(positions).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
    expect((await eventsOf(client)).filter((type) => type === 'thread.created')).toHaveLength(1);
  });
});

describe('a status move', () => {
  const statuses = ['sent', 'delivered', 'read', 'failed'] as const;
  const legal = new Set([
    'sent → delivered',
    'sent → read',
    'sent → failed',
    'delivered → read',
    'delivered → failed',
    'failed → delivered',
  ]);
  const pairs = statuses.flatMap((from) =>
    (['delivered', 'read', 'failed'] as const).map((to) => [`${from} → ${to}`, from, to] as const),
  );

  it.each(pairs)('%s', async (name, from, to) => {
    const client = await app.tenant();
    const { messageId } = await send(client);
    await database.query('UPDATE conversation_message SET status = $2 WHERE id = $1', [
      decodeId('message', messageId),
      from,
    ]);
    const move = () =>
      client.data(
        `mutation ($input: UpdateMessageStatusInput!) {
          updateMessageStatus(input: $input) { message { id status logs { event details } } thread { id } }
        }`,
        { input: { messageId, status: to.toUpperCase(), details: { why: name } } },
      );
    const { updateMessageStatus } = await move();
    const isLegal = legal.has(name);
    const created = { event: 'CREATED', details: null };
    expect(updateMessageStatus.message).toEqual({
      id: messageId,
      status: (isLegal ? to : from).toUpperCase(),
      logs: isLegal ? [created, { event: to.toUpperCase(), details: { why: name } }] : [created],
    });
    const moved = isLegal ? ['message.updated', `message.${to}`] : [];
    expect((await eventsOf(client)).slice(2)).toEqual(moved);
    // Again: the same answer, and nothing happens.
    expect(await move()).toEqual({ updateMessageStatus });
    expect((await eventsOf(client)).slice(2)).toEqual(moved);
  });

  it('is made once when many report it at once', async () => {
    const client = await app.tenant();
    const { messageId } = await send(client);
    await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        client.data(
          'mutation ($input: UpdateMessageStatusInput!) { updateMessageStatus(input: $input) { message { id } } }',
          { input: { messageId, status: n % 2 ? 'READ' : 'DELIVERED' } },
        ),
      ),
    );
    const { message: stored } = await client.data(
      'query ($id: ID!) { message(id: $id) { status logs { event } } }',
      { id: messageId },
    );
    expect(stored.status).toBe('READ');
    expect(stored.logs.filter(({ event }: { event: string }) => event === 'READ')).toHaveLength(1);
    expect(stored.logs.length).toBeLessThanOrEqual(3);
  });

  it('reaches a webhook under its specific name, or as message.updated, not as both', async () => {
    const client = await app.tenant();
    const [specific, general] = [await startReceiver(), await startReceiver()];
    await client.rest('POST', '/outbound/webhook', {
      url: specific.url,
      events: ['message.read', 'message.failed'],
    });
    await client.rest('POST', '/outbound/webhook', {
      url: general.url,
      events: ['message.updated', 'message.read'],
    });
    const { messageId } = await send(client);
    await client.data(
      'mutation ($id: ID!) { updateMessageStatus(input: {messageId: $id, status: READ}) { message { id } } }',
      { id: messageId },
    );
    const { threadId } = await send(client, { participantId: 'marker' });
    const marker = await client.data('query ($id: ID!) { thread(id: $id) { lastMessage { id } } }', {
      id: threadId,
    });
    await client.data(
      'mutation ($id: ID!) { updateMessageStatus(input: {messageId: $id, status: READ}) { message { id } } }',
      { id: marker.thread.lastMessage.id },
    );
    const eventsAt = async (receiver: typeof specific) =>
      (await receiver.waitFor(2)).map(({ body }) => [body.event, body.status]);
    expect(await eventsAt(specific)).toEqual([
      ['message.read', 'read'],
      ['message.read', 'read'],
    ]);
    expect(await eventsAt(general)).toEqual([
      ['message.updated', 'read'],
      ['message.updated', 'read'],
    ]);
  });
});

interface Page {
  edges: { cursor: string; node: { id: string } }[];
  pageInfo: {
    hasNextPage: boolean;
    hasPreviousPage: boolean;
    startCursor: string | null;
    endCursor: string | null;
  };
}

const PAGE = 'edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }';

const listThreads = async (client: Client, variables: object = {}): Promise<Page> =>
  (
    await client.data(
      `query ($filter: ThreadFilter, $orderBy: ThreadOrder, $first: Int, $after: String, $last: Int, $before: String) {
        threads(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) { ${PAGE} }
      }`,
      variables,
    )
  ).threads;

const nodesOf = ({ edges }: Page) => edges.map(({ node }) => node.id);

/** Reads a list to its end, and says which pages it took. */
async function walk(read: (page: object) => Promise<Page>, size: number, direction: 'forward' | 'backward') {
  const pages: string[][] = [];
  let cursor: string | null = null;
  for (;;) {
    const page = await read(
      direction === 'forward' ? { first: size, after: cursor } : { last: size, before: cursor },
    );
    pages.push(nodesOf(page));
    const { pageInfo, edges } = page;
    expect([pageInfo.startCursor, pageInfo.endCursor]).toEqual([
      edges[0]?.cursor ?? null,
      edges.at(-1)?.cursor ?? null,
    ]);
    const [isMore, isBehind] =
      direction === 'forward'
        ? [pageInfo.hasNextPage, pageInfo.hasPreviousPage]
        : [pageInfo.hasPreviousPage, pageInfo.hasNextPage];
    expect(isBehind).toBe(cursor !== null);
    if (!isMore) return pages;
    cursor = direction === 'forward' ? pageInfo.endCursor : pageInfo.startCursor;
  }
}

const orders = [
  undefined,
  ...['UPDATED_AT', 'CREATED_AT'].flatMap((field) =>
    ['ASC', 'DESC'].map((direction) => ({ field, direction })),
  ),
];

describe('threads over GraphQL', () => {
  it.each(orders)(
    'are paged forward and backward without gap or repeat, ties included, in the order %j',
    async (orderBy) => {
      const client = await app.tenant();
      const ids = await threadsOf(client, 7);
      const moments = ['03', '01', '02', '02', '02', '02', '03'];
      for (const [index, id] of ids.entries()) await setUpdatedAt(id, `2026-01-${moments[index]}T00:00:00Z`);
      const ascending = [ids[1], ids[2], ids[3], ids[4], ids[5], ids[0], ids[6]];
      const expected = orderBy?.direction === 'ASC' ? ascending : ascending.toReversed();
      for (const size of [1, 2, 3, 7, 100]) {
        const forward = await walk((page) => listThreads(client, { ...page, orderBy }), size, 'forward');
        expect(forward.flat()).toEqual(expected);
        const backward = await walk((page) => listThreads(client, { ...page, orderBy }), size, 'backward');
        expect(backward.toReversed().flat()).toEqual(expected);
      }
    },
  );

  it('go on behind a cursor whose thread is gone', async () => {
    const client = await app.tenant();
    const newestFirst = (await threadsOf(client, 4)).reverse();
    const { pageInfo } = await listThreads(client, { first: 2 });
    await client.rest('DELETE', `/threads/${newestFirst[1]}?permanent=true`);
    expect(nodesOf(await listThreads(client, { after: pageInfo.endCursor }))).toEqual(newestFirst.slice(2));
    expect(nodesOf(await listThreads(client, { last: 5, before: pageInfo.endCursor }))).toEqual(
      newestFirst.slice(0, 1),
    );
  });

  it('may be bounded on both sides', async () => {
    const client = await app.tenant();
    const newestFirst = (await threadsOf(client, 5)).reverse();
    const { edges } = await listThreads(client);
    const [after, before] = [edges[0]!.cursor, edges[4]!.cursor];
    expect(nodesOf(await listThreads(client, { after, before }))).toEqual(newestFirst.slice(1, 4));
    expect(nodesOf(await listThreads(client, { after, before, first: 1 }))).toEqual(newestFirst.slice(1, 2));
    expect(nodesOf(await listThreads(client, { after, before, last: 1 }))).toEqual(newestFirst.slice(3, 4));
    expect(nodesOf(await listThreads(client, { after: before, before: after }))).toEqual([]);
  });

  it('refuse a cursor of another order', async () => {
    const client = await app.tenant();
    await threadsOf(client, 1);
    const { pageInfo } = await listThreads(client);
    const { body } = await client.graphql(
      'query ($after: String) { threads(after: $after, orderBy: {field: CREATED_AT, direction: DESC}) { edges { cursor } } }',
      { after: pageInfo.endCursor },
    );
    expect(body.errors).toMatchObject([
      { extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'after' }] } },
    ]);
  });

  it('are filtered by all that is given', async () => {
    const client = await app.tenant();
    const made = async (workflowId: string, participantId: string, channel: string) =>
      (await receive(client, { workflowId, participantId, channel, content: { body: 'x', transcript: 'x' } }))
        .threadId;
    const ax = await made('a', 'x', 'chat');
    const ay = await made('a', 'y', 'sms');
    const bx = await made('b', 'x', 'chat');
    await send(client, {
      workflowId: 'b',
      participantId: 'x',
      channel: 'voice',
      channelKey: 'k',
      content: { transcript: 'x' },
    });
    await client.rest('PUT', `/threads/${ay}`, { status: 'closed' });
    await setUpdatedAt(ax, '2026-01-01T00:00:00.000Z');
    await setUpdatedAt(ay, '2026-01-01T00:00:00.001Z');
    await setUpdatedAt(bx, '2026-01-02T00:00:00.000Z');
    const all = [bx, ay, ax];
    for (const [filter, expected] of [
      [{}, all],
      [null, all],
      [{ workflowId: null, status: null, updatedAfter: null }, all],
      [{ workflowId: 'a' }, [ay, ax]],
      [{ participantId: 'x' }, [bx, ax]],
      [{ status: 'CLOSED' }, [ay]],
      [{ status: 'ARCHIVED' }, []],
      [{ channel: 'chat' }, [bx, ax]],
      [{ channel: 'voice' }, [bx]],
      [{ channel: 'email' }, []],
      [{ updatedAfter: '2026-01-01T00:00:00.000Z' }, [bx, ay]],
      [{ updatedAfter: '2026-01-01T01:00:00.001+01:00' }, [bx]],
      [{ updatedAfter: '2026-01-02T00:00:00.000Z' }, []],
      [
        {
          workflowId: 'b',
          participantId: 'x',
          status: 'ACTIVE',
          channel: 'voice',
          updatedAfter: '2026-01-01T00:00:00Z',
        },
        [bx],
      ],
      [{ workflowId: 'b', participantId: 'y' }, []],
      [{ workflowId: '' }, []],
    ] as const) {
      expect([filter, nodesOf(await listThreads(client, { filter }))]).toEqual([filter, expected]);
    }
  });

  it('that are none are an empty page', async () => {
    const client = await app.tenant();
    expect(await listThreads(client)).toEqual({
      edges: [],
      pageInfo: { hasNextPage: false, hasPreviousPage: false, startCursor: null, endCursor: null },
    });
  });
});

describe('messages over GraphQL', () => {
  const messagesOf =
    (client: Client, threadId: string, direction?: string) =>
    async (page: object): Promise<Page> =>
      (
        await client.data(
          `query ($id: ID!, $direction: MessageDirection, $first: Int, $after: String, $last: Int, $before: String) {
          thread(id: $id) { messages(direction: $direction, first: $first, after: $after, last: $last, before: $before) { ${PAGE} } }
        }`,
          { id: threadId, direction, ...page },
        )
      ).thread.messages;

  it('are paged by position, of one direction or of both', async () => {
    const client = await app.tenant();
    const all: { threadId: string; messageId: string; path: string }[] = [];
    for (const path of ['/inbound', '/outbound', '/outbound', '/inbound', '/outbound', '/inbound'] as const) {
      all.push({ ...(await post(client, path)), path });
    }
    const threadId = all[0]!.threadId;
    const ids = (path?: string) =>
      all.filter((stored) => !path || stored.path === path).map(({ messageId }) => messageId);
    for (const [direction, expected] of [
      [undefined, ids()],
      ['INBOUND', ids('/inbound')],
      ['OUTBOUND', ids('/outbound')],
    ] as const) {
      for (const size of [1, 2, 100]) {
        const read = messagesOf(client, threadId, direction);
        expect((await walk(read, size, 'forward')).flat()).toEqual(expected);
        expect((await walk(read, size, 'backward')).toReversed().flat()).toEqual(expected);
      }
    }
  });

  it('refuse a cursor of another thread or direction', async () => {
    const client = await app.tenant();
    const [first, second] = (await threadsOf(client, 2)) as [string, string];
    const { pageInfo } = await messagesOf(client, first)({});
    await expect(messagesOf(client, second)({ after: pageInfo.endCursor })).rejects.toThrow('BAD_USER_INPUT');
    await expect(messagesOf(client, first, 'INBOUND')({ after: pageInfo.endCursor })).rejects.toThrow(
      'BAD_USER_INPUT',
    );
  });

  it('refuse sizes out of range, and not more than one of first and last', async () => {
    const client = await app.tenant();
    const [threadId] = (await threadsOf(client, 1)) as [string];
    for (const page of [
      { first: 0 },
      { first: 101 },
      { last: 0 },
      { last: 101 },
      { first: -5 },
      { first: 1, last: 1 },
    ]) {
      await expect(messagesOf(client, threadId)(page)).rejects.toThrow('BAD_USER_INPUT');
      await expect(listThreads(client, page)).rejects.toThrow('BAD_USER_INPUT');
    }
  });

  it('and threads show each other: last message, count, thread, log', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    const { messageId } = await send(client);
    const { thread } = await client.data(
      `query ($id: ID!) { thread(id: $id) {
        messageCount status lastMessage { id position direction status thread { id messageCount } threadId logs { event timestamp } metadata }
      } }`,
      { id: threadId },
    );
    expect(thread).toEqual({
      messageCount: 2,
      status: 'ACTIVE',
      lastMessage: {
        id: messageId,
        position: 2,
        direction: 'OUTBOUND',
        status: 'SENT',
        thread: { id: threadId, messageCount: 2 },
        threadId,
        logs: [{ event: 'CREATED', timestamp: expect.stringMatching(TIME) }],
        metadata: {},
      },
    });
  });

  it('change threads as REST does', async () => {
    const client = await app.tenant();
    const { threadId } = await receive(client);
    const run = (field: string, type: string, input: object, selection: string) =>
      client.data(`mutation ($input: ${type}!) { ${field}(input: $input) { ${selection} } }`, { input });
    expect(
      await run(
        'updateThread',
        'UpdateThreadInput',
        { id: threadId, status: 'CLOSED', metadata: { a: [] } },
        'thread { status metadata }',
      ),
    ).toEqual({ updateThread: { thread: { status: 'CLOSED', metadata: { a: [] } } } });
    expect(await run('archiveThread', 'ArchiveThreadInput', { id: threadId }, 'thread { status }')).toEqual({
      archiveThread: { thread: { status: 'ARCHIVED' } },
    });
    expect(await run('deleteThread', 'DeleteThreadInput', { id: threadId }, 'deletedThreadId')).toEqual({
      deleteThread: { deletedThreadId: threadId },
    });
    await eventually(async () => (await client.rest('GET', `/threads/${threadId}`)).status === 404);
    expect(await eventsOf(client)).toEqual([
      'thread.created',
      'message.created',
      'thread.updated',
      'thread.updated',
      'thread.deleted',
    ]);
  });
});
