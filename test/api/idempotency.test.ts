import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Client, startApp, type TestApp } from '../support/app.js';
import { eventually, startReceiver } from '../support/receiver.js';

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
  channel: 'email',
  channelKey: 'a@example.com',
  content: { subject: 'Hello', body: 'Hello', nested: { b: [1, { d: 4, c: 3 }], a: null } },
  metadata: { source: 'test', priority: 'high' },
};

/** Direction, route, mutation and its input. */
type Face = readonly [direction: string, path: string, field: string, type: string];
const inboundFace: Face = ['inbound', '/inbound', 'receiveInboundMessage', 'ReceiveInboundMessageInput'];
const outboundFace: Face = ['outbound', '/outbound', 'sendOutboundMessage', 'SendOutboundMessageInput'];

type Shown = { threadId: string; messageId: string; position: number; createdAt: string };

const byRest = (
  client: Client,
  [, path]: Face,
  body: object,
  key: string,
  how: 'header' | 'member' = 'header',
) =>
  how === 'header'
    ? client.rest('POST', path, body, { 'idempotency-key': key })
    : client.rest('POST', path, { ...body, idempotencyKey: key });

const byGraphQL = (client: Client, [, , field, type]: Face, body: object, key: string) =>
  client.graphql(
    `mutation ($input: ${type}!) { ${field}(input: $input) { message { id position createdAt } thread { id } } }`,
    { input: { ...body, idempotencyKey: key } },
  );

/** An answer of either transport as REST has it. */
function shown({ status, body }: Answer): Shown {
  expect({ status, errors: body.errors, error: body.error }).toEqual({ status: 200 });
  const payload =
    body.data &&
    (Object.values(body.data)[0] as {
      message: { id: string; position: number; createdAt: string };
      thread: { id: string };
    });
  if (!payload) return body;
  const { id, position, createdAt } = payload.message;
  return { threadId: payload.thread.id, messageId: id, position, createdAt };
}

/** How many rows of each kind a tenant has. */
async function countsOf({ tenantId }: Client) {
  const { rows } = await database.query(
    `SELECT (SELECT count(*)::int FROM conversation_thread WHERE tenant_id = $1) AS threads,
            (SELECT count(*)::int FROM conversation_message WHERE tenant_id = $1) AS messages,
            (SELECT count(*)::int FROM conversation_message_log WHERE tenant_id = $1) AS logs,
            (SELECT count(*)::int FROM event WHERE tenant_id = $1 AND type = 'message.created') AS events,
            (SELECT count(*)::int FROM idempotency_key WHERE tenant_id = $1) AS keys`,
    [tenantId],
  );
  return rows[0];
}

const one = { threads: 1, messages: 1, logs: 1, events: 1, keys: 1 };

describe.each([inboundFace, outboundFace])('the key of an %s message', (...face) => {
  it('sent 20 times in parallel over REST and GraphQL stores one message and gets 20 equal answers', async () => {
    const client = await app.tenant();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => {
        if (n % 3 === 0) return byGraphQL(client, face, message, 'key');
        return byRest(client, face, message, 'key', n % 3 === 1 ? 'header' : 'member');
      }),
    );
    const [first] = answers.map(shown);
    for (const answer of answers) expect(shown(answer)).toEqual(first);
    expect(first).toMatchObject({ position: 1 });
    expect(await countsOf(client)).toEqual(one);
  });

  it('answers later and over the other transport as it did at first', async () => {
    const client = await app.tenant();
    const first = shown(await byGraphQL(client, face, message, 'key'));
    await byRest(client, face, message, 'another key');
    expect(shown(await byRest(client, face, message, 'key'))).toEqual(first);
    expect(shown(await byGraphQL(client, face, message, 'key'))).toEqual(first);
    expect(await countsOf(client)).toMatchObject({ messages: 2, keys: 2 });
  });

  it('in letters beyond ASCII is the same in a header, whose bytes are UTF-8', async () => {
    const client = await app.tenant();
    const key = 'Bestellung für Zoë №1';
    const bytes = Buffer.from(key).toString('latin1');
    const first = shown(await byRest(client, face, message, bytes));
    expect(shown(await byGraphQL(client, face, message, key))).toEqual(first);
    expect(shown(await byRest(client, face, message, key, 'member'))).toEqual(first);
    expect(await countsOf(client)).toEqual(one);
  });

  it('takes no notice of the order of members, of absent or empty metadata, or of the own tenant', async () => {
    const client = await app.tenant();
    const reversed = (value: unknown): unknown =>
      typeof value !== 'object' || value === null || Array.isArray(value)
        ? Array.isArray(value)
          ? value.map(reversed)
          : value
        : Object.fromEntries(
            Object.entries(value)
              .toReversed()
              .map(([key, member]) => [key, reversed(member)]),
          );
    const first = shown(await byRest(client, face, message, 'key'));
    expect(shown(await byRest(client, face, reversed(message) as object, 'key'))).toEqual(first);
    expect(shown(await byGraphQL(client, face, reversed(message) as object, 'key'))).toEqual(first);
    expect(shown(await byRest(client, face, { ...message, tenantId: client.tenantId }, 'key'))).toEqual(
      first,
    );

    const { metadata: _, ...bare } = message;
    const plain = shown(await byRest(client, face, bare, 'plain'));
    for (const metadata of [{}, null]) {
      expect(shown(await byRest(client, face, { ...bare, metadata }, 'plain'))).toEqual(plain);
      expect(shown(await byGraphQL(client, face, { ...bare, metadata }, 'plain'))).toEqual(plain);
    }
  });

  it.each<[string, object]>([
    ['content', { content: { subject: 'Hello', body: 'Goodbye' } }],
    ['a member more in the content', { content: { ...message.content, more: null } }],
    ['an order in a list', { content: { ...message.content, nested: { b: [{ d: 4, c: 3 }, 1], a: null } } }],
    [
      'a text for a number',
      { content: { ...message.content, nested: { b: ['1', { d: 4, c: 3 }], a: null } } },
    ],
    ['metadata', { metadata: {} }],
    ['workflow', { workflowId: 'other' }],
    ['participant', { participantId: 'other' }],
    ['channel', { channel: 'chat' }],
    ['channel key', { channelKey: 'b@example.com' }],
  ])('is a conflict with another body, and stores nothing: %s', async (_case, change) => {
    const client = await app.tenant();
    await byRest(client, face, message, 'key');
    const rest = await byRest(client, face, { ...message, ...change }, 'key');
    expect([rest.status, rest.body]).toEqual([
      409,
      {
        error: {
          code: 'conflict',
          message: expect.any(String),
          details: [{ field: 'idempotencyKey', issue: expect.any(String) }],
        },
      },
    ]);
    const graphql = await byGraphQL(client, face, { ...message, ...change }, 'key');
    expect(graphql.body.errors).toMatchObject([
      { extensions: { code: 'CONFLICT', details: [{ field: 'idempotencyKey' }] } },
    ]);
    expect(await countsOf(client)).toEqual(one);
  });

  it('with different bodies at once: one wins, the others are conflicts', async () => {
    const client = await app.tenant();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        byRest(client, face, { ...message, content: { body: `number ${n % 5}` } }, 'key'),
      ),
    );
    const won = answers.filter(({ status }) => status === 200);
    expect(won.length).toBe(4);
    for (const { body } of won) expect(body).toEqual(won[0]?.body);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(16);
    expect(await countsOf(client)).toEqual(one);
  });

  it('is not spent by a request that was refused', async () => {
    const client = await app.tenant();
    expect((await byRest(client, face, { ...message, content: {} }, 'key')).status).toBe(400);
    expect((await byRest(client, face, { ...message, tenantId: 'other' }, 'key')).status).toBe(400);
    shown(await byRest(client, face, message, 'key'));
    expect(await countsOf(client)).toEqual(one);
  });

  it('distinguishes capitals, blanks and characters that look alike', async () => {
    const client = await app.tenant();
    const keys = ['key', 'KEY', 'key.', 'k\u00e9y', 'ke\u0301y', '%', '_ey', 'x'.repeat(128)];
    const ids = await Promise.all(
      keys.map(async (key) => shown(await byRest(client, face, message, key, 'member')).messageId),
    );
    expect(new Set(ids).size).toBe(keys.length);
  });

  it('is free again once its thread was permanently deleted', async () => {
    const client = await app.tenant();
    const first = shown(await byRest(client, face, message, 'key'));
    await client.rest('DELETE', `/threads/${first.threadId}`);
    expect(shown(await byRest(client, face, message, 'key'))).toEqual(first);
    await client.rest('DELETE', `/threads/${first.threadId}?permanent=true`);
    const second = shown(await byRest(client, face, { ...message, content: { body: 'Another' } }, 'key'));
    expect(second.position).toBe(1);
    expect(second.messageId).not.toBe(first.messageId);
  });

  it('that is repeated does not reactivate, touch or signal anything', async () => {
    const client = await app.tenant();
    const { threadId } = shown(await byRest(client, face, message, 'key'));
    await client.rest('PUT', `/threads/${threadId}`, { status: 'closed' });
    const before = await client.rest('GET', `/threads/${threadId}`);
    shown(await byRest(client, face, message, 'key'));
    expect((await client.rest('GET', `/threads/${threadId}`)).body).toEqual(before.body);
  });
});

describe('keys', () => {
  it('of inbound and outbound messages are separate', async () => {
    const client = await app.tenant();
    const first = shown(await byRest(client, inboundFace, message, 'key'));
    const second = shown(await byRest(client, outboundFace, message, 'key'));
    expect(second.messageId).not.toBe(first.messageId);
    expect(await countsOf(client)).toMatchObject({ messages: 2, keys: 2 });
  });

  it('that are absent never make messages the same', async () => {
    const client = await app.tenant();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => client.rest('POST', '/inbound', message)),
    );
    expect(new Set(answers.map((answer) => shown(answer).messageId)).size).toBe(10);
  });

  it('of many, each three times at once, store each message once', async () => {
    const client = await app.tenant();
    const answers = await Promise.all(
      Array.from({ length: 150 }, (_, n) =>
        byRest(
          client,
          inboundFace,
          { ...message, participantId: `p${n % 10}`, content: { body: `${n % 50}` } },
          `key ${n % 50}`,
        ),
      ),
    );
    expect(new Set(answers.map((answer) => shown(answer).messageId)).size).toBe(50);
    expect(await countsOf(client)).toEqual({ threads: 10, messages: 50, logs: 50, events: 50, keys: 50 });
  });

  it('hold when the channel that an answer takes over has changed since', async () => {
    const client = await app.tenant();
    const { body } = await client.rest('POST', '/inbound', message);
    const reply = { threadId: body.threadId, content: { body: 'x' } };
    const first = shown(await byRest(client, outboundFace, reply, 'key'));
    await client.rest('POST', '/inbound', { ...message, channel: 'voice', content: { transcript: 'x' } });
    expect(shown(await byRest(client, outboundFace, reply, 'key'))).toEqual(first);
    expect(shown(await byGraphQL(client, outboundFace, reply, 'key'))).toEqual(first);
  });
});

describe('messages that arrive together', () => {
  it('do not suffer from one among them that is invalid', async () => {
    const client = await app.tenant();
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        byRest(
          client,
          inboundFace,
          { ...message, ...(n === 50 && { content: { body: '\u0000' } }) },
          `key ${n}`,
        ),
      ),
    );
    expect(answers.map(({ status }) => status).filter((status) => status === 200)).toHaveLength(99);
    expect(answers[50]?.status).toBe(400);
    expect(await countsOf(client)).toEqual({ threads: 1, messages: 99, logs: 99, events: 99, keys: 99 });
    const positions = answers.filter(({ status }) => status === 200).map(({ body }) => body.position);
    expect(positions.sort((x, y) => x - y)).toEqual(Array.from({ length: 99 }, (_, index) => index + 1));
  });

  it('do not suffer from some whose key is taken by something else', async () => {
    const client = await app.tenant();
    await byRest(client, inboundFace, message, 'taken');
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, n) =>
        byRest(
          client,
          inboundFace,
          { ...message, content: { body: `${n}` } },
          n % 3 === 0 ? 'taken' : `key ${n}`,
        ),
      ),
    );
    expect(answers.map(({ status }, n) => [n % 3 === 0, status])).toEqual(
      answers.map((_, n) => [n % 3 === 0, n % 3 === 0 ? 409 : 200]),
    );
    expect(await countsOf(client)).toMatchObject({ messages: 41, keys: 41 });
  });

  it('do not suffer from the lock of another tenant', async () => {
    const [locked, free] = [await app.tenant(), await app.tenant()];
    await locked.rest('POST', '/inbound', message);
    const blocker = new pg.Client(app.databaseUrl);
    await blocker.connect();
    try {
      await blocker.query('BEGIN');
      await blocker.query('SELECT * FROM tenant_counter WHERE tenant_id = $1 FOR UPDATE', [locked.tenantId]);
      const waiting = Promise.all(Array.from({ length: 5 }, () => locked.rest('POST', '/inbound', message)));
      const startedAt = performance.now();
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => free.rest('POST', '/inbound', message)),
      );
      expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
      expect(performance.now() - startedAt).toBeLessThan(5_000);
      await blocker.query('ROLLBACK');
      expect((await waiting).map(({ status }) => status)).toEqual(Array(5).fill(200));
      expect(await countsOf(locked)).toMatchObject({ messages: 6, events: 6 });
    } finally {
      await blocker.end();
    }
  });
});

describe('a message to a thread that is deleted at the same moment', () => {
  it('does not land in the thread that comes after it, and does no harm to those that come with it', async () => {
    const client = await app.tenant();
    const { body: first } = await client.rest('POST', '/inbound', message);
    const blocker = new pg.Client(app.databaseUrl);
    await blocker.connect();
    try {
      await blocker.query('BEGIN');
      await blocker.query('DELETE FROM conversation_thread WHERE tenant_id = $1', [client.tenantId]);
      // They find the thread, and wait for what becomes of it.
      const reply = byRest(
        client,
        outboundFace,
        { threadId: first.threadId, content: { body: 'x' } },
        'reply',
      );
      const others = [1, 2, 3].map((n) =>
        byRest(client, inboundFace, { ...message, participantId: `other ${n}` }, `key ${n}`),
      );
      await eventually(async () => {
        const { rows } = await database.query(
          `SELECT 1 FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%expected_thread_id%'`,
        );
        return rows.length > 0;
      });
      await blocker.query('COMMIT');
      expect([(await reply).status, (await reply).body.error?.code]).toEqual([404, 'not_found']);
      expect((await Promise.all(others)).map(({ status }) => status)).toEqual([200, 200, 200]);
      expect(await countsOf(client)).toMatchObject({ threads: 3, messages: 3, logs: 3, keys: 3 });
    } finally {
      await blocker.end();
    }
  });

  it('leaves nothing pending of a message that comes, and is dispatched, while others are deleted', async () => {
    const client = await app.tenant();
    const { body: first } = await client.rest('POST', '/inbound', message);
    const [holder, dispatcher] = [new pg.Client(app.databaseUrl), new pg.Client(app.databaseUrl)];
    await Promise.all([holder.connect(), dispatcher.connect()]);
    try {
      await holder.query('BEGIN');
      await holder.query('SELECT 1 FROM conversation_message WHERE tenant_id = $1 FOR UPDATE', [
        client.tenantId,
      ]);
      const deletion = client.rest('DELETE', `/threads/${first.threadId}?permanent=true`);
      const blockedBy = (pid: number) =>
        eventually(async () => {
          const { rows } = await database.query(
            'SELECT 1 FROM pg_stat_activity WHERE $1::int = ANY (pg_blocking_pids(pid))',
            [pid],
          );
          return rows.length > 0;
        });
      const pidOf = async (connection: pg.Client) =>
        (await connection.query('SELECT pg_backend_pid() AS pid')).rows[0].pid as number;
      await blockedBy(await pidOf(holder));
      await client.rest('POST', '/inbound', message);
      await dispatcher.query('BEGIN');
      await dispatcher.query(
        `WITH later AS (
           SELECT * FROM conversation_message WHERE tenant_id = $1 AND position = 2 FOR KEY SHARE
         )
         INSERT INTO delivery (tenant_id, id, kind, lane_id, in_order, event_type, occurred_at, thread_id, message_id)
         SELECT tenant_id, uuid_v7(), 'signal', thread_id, true, 'message.created', now(), thread_id, id FROM later`,
        [client.tenantId],
      );
      await holder.query('COMMIT');
      await blockedBy(await pidOf(dispatcher));
      await dispatcher.query('COMMIT');
      expect((await deletion).status).toBe(200);
      const { rows } = await database.query(
        'SELECT DISTINCT status FROM delivery WHERE tenant_id = $1 AND message_id IS NULL',
        [client.tenantId],
      );
      expect(rows).toEqual([{ status: 'cancelled' }]);
    } finally {
      await Promise.all([holder.end(), dispatcher.end()]);
    }
  });

  it('is stored whole or not at all, and what was queued of it comes to an end', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    await client.rest('POST', '/outbound/webhook', {
      url: receiver.url,
      events: ['thread.created', 'thread.deleted'],
    });
    for (let round = 0; round < 15; round++) {
      const { body: first } = await client.rest('POST', '/inbound', message);
      const [deleted, ...answers] = await Promise.all([
        client.rest('DELETE', `/threads/${first.threadId}?permanent=true`),
        ...Array.from({ length: 6 }, (_, n) => {
          const key = `round ${round} of ${n}`;
          const reply = { threadId: first.threadId, content: { body: 'x' } };
          return n % 2 === 0
            ? byRest(client, inboundFace, message, key)
            : byRest(client, outboundFace, reply, key);
        }),
      ]);
      expect(deleted.status).toBe(200);
      for (const [n, { status, body }] of answers.entries()) {
        // A reply to the thread that is gone is a 404; a message to the participant begins a new one.
        expect([n, n % 2 === 0 ? [200] : [200, 404]]).toEqual([n, expect.arrayContaining([status])]);
        if (status === 404) continue;
        const stored = await client.data('query ($id: ID!) { message(id: $id) { position thread { id } } }', {
          id: body.messageId,
        });
        // It went with its thread, or it is in the one that was named.
        if (stored.message === null) expect(body.threadId).toBe(first.threadId);
        else expect(stored.message).toEqual({ position: body.position, thread: { id: body.threadId } });
      }
      expect((await client.rest('GET', `/threads/${first.threadId}`)).status).toBe(404);
    }

    const { rows: gaps } = await database.query(
      `SELECT t.id FROM conversation_thread t JOIN conversation_message m ON m.tenant_id = t.tenant_id AND m.thread_id = t.id
       WHERE t.tenant_id = $1 GROUP BY t.id, t.last_position
       HAVING count(*) <> t.last_position OR max(m.position) <> t.last_position`,
      [client.tenantId],
    );
    expect(gaps).toEqual([]);
    const { rows: events } = await database.query(
      'SELECT sequence FROM event WHERE tenant_id = $1 ORDER BY sequence',
      [client.tenantId],
    );
    expect(events.map(({ sequence }) => Number(sequence))).toEqual(events.map((_, index) => index + 1));
    const { rows: threads } = await database.query(
      `SELECT thread_id, array_agg(type ORDER BY sequence) AS types FROM event
       WHERE tenant_id = $1 AND type LIKE 'thread.%' GROUP BY thread_id`,
      [client.tenantId],
    );
    for (const { types } of threads)
      expect([['thread.created', 'thread.deleted'], ['thread.created']]).toContainEqual(types);
    // Nothing stays queued for messages that are gone.
    await eventually(
      async () => {
        const { rows } = await database.query(
          `SELECT count(*)::int AS n FROM delivery
         WHERE tenant_id = $1 AND kind = 'signal' AND status = 'pending' AND message_id IS NULL`,
          [client.tenantId],
        );
        return rows[0].n === 0;
      },
      { describe: () => 'signals of deleted messages to be settled' },
    );
  });
});
