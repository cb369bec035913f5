import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { openDatabase } from '../../src/database/client.js';
import { newId } from '../../src/ids.js';
import { type NewMessage, storeMessages } from '../../src/services/ingestion/statement.js';
import { type Answer, type Client, startApp, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { eventually, type Receiver, startReceiver } from '../support/receiver.js';

let app: TestApp;
beforeEach(async () => {
  const schedule = [0, 0, 0, 1, 1, 1, 1, 1];
  app = await startApp({ signalRetryScheduleSeconds: schedule, webhookRetryScheduleSeconds: schedule });
  // Sooner than Parley gives up on a lock, so that no deadlock passes for a lock that was merely held for long.
  const [{ name } = {}] = await query<{ name?: string }>(
    app.databaseUrl,
    'SELECT current_database() AS name',
  );
  await query(app.databaseUrl, `ALTER DATABASE ${name} SET deadlock_timeout = '20ms'`);
  await endSessions();
});
afterEach(() => app.close());

const address = (thread: number | string) => ({
  workflowId: `workflow_${thread}`,
  participantId: `participant_${thread}`,
  channel: 'chat',
  channelKey: `participant_${thread}`,
});

const receive = (client: Client, thread: number | string, text = 'Hello') =>
  client.rest('POST', '/inbound', { ...address(thread), content: { body: text } });

const send = (client: Client, thread: number | string, text = 'Hello') =>
  client.rest('POST', '/outbound', { ...address(thread), content: { body: text } });

const tenants = (count: number) => Promise.all(Array.from({ length: count }, () => app.tenant()));

/** Runs so many connections, each doing one thing after the other. */
const inParallel = (connections: number, run: (connection: number) => Promise<void>) =>
  Promise.all(Array.from({ length: connections }, (_, index) => run(index)));

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

/** Promise 2: 1, 2, 3 … per tenant, and the counter stands at the last. */
async function checkSequences(clients: readonly Client[]): Promise<void> {
  for (const { tenantId } of clients) {
    const events = await query<{ sequence: string }>(
      app.databaseUrl,
      'SELECT sequence FROM event WHERE tenant_id = $1 ORDER BY sequence',
      [tenantId],
    );
    expect(events.map(({ sequence }) => Number(sequence))).toEqual(upTo(events.length));
    const [counter] = await query(
      app.databaseUrl,
      'SELECT last_sequence::int FROM tenant_counter WHERE tenant_id = $1',
      [tenantId],
    );
    expect(counter).toEqual({ last_sequence: events.length });
  }
}

/** Promise 3, and that the log tells of a thread's messages in the order of their positions. */
async function checkPositions(): Promise<void> {
  const threads = await query<{ positions: number[]; last_position: number; by_sequence: number[] }>(
    app.databaseUrl,
    `SELECT t.last_position, array_agg(m.position ORDER BY m.position) AS positions,
            array_agg(m.position ORDER BY e.sequence) AS by_sequence
     FROM conversation_thread t
     JOIN conversation_message m ON m.tenant_id = t.tenant_id AND m.thread_id = t.id
     JOIN event e ON e.tenant_id = m.tenant_id AND e.message_id = m.id AND e.type = 'message.created'
     GROUP BY t.tenant_id, t.id`,
  );
  expect(threads.length).toBeGreaterThan(0);
  for (const { positions, last_position: last, by_sequence: bySequence } of threads) {
    expect(positions).toEqual(upTo(last));
    expect(bySequence).toEqual(positions);
  }
}

/** Cuts off everybody who is connected, and returns when those sessions are gone. Parley connects again. */
async function endSessions(): Promise<void> {
  const sessions = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`;
  const ended = await query<{ pid: number }>(
    app.databaseUrl,
    `SELECT pid, pg_terminate_backend(pid) FROM (${sessions}) AS s`,
  );
  await eventually(async () => {
    const alive = await query<{ pid: number }>(app.databaseUrl, sessions);
    return !alive.some(({ pid }) => ended.some((session) => session.pid === pid));
  });
}

/** What Postgres counted. A session tells of its deadlocks now and then, and for certain when it ends. */
async function deadlocks(): Promise<number> {
  await endSessions();
  const [row] = await query<{ deadlocks: string }>(
    app.databaseUrl,
    'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
  );
  if (row!.deadlocks !== '0') process.stderr.write(await deadlockReports());
  return Number(row!.deadlocks);
}

/** What the server's log says of deadlocks: who waited for whom, and the statements. */
async function deadlockReports(): Promise<string> {
  const [row] = await query<{ log: string }>(
    app.databaseUrl,
    `SELECT pg_read_file(current_setting('data_directory') || '/../postgres.log') AS log`,
  );
  return row!.log
    .split('\n')
    .flatMap((line, index, lines) =>
      line.includes('deadlock detected') ? lines.slice(index, index + 150) : [],
    )
    .join('\n');
}

describe('messages in parallel', () => {
  it('make one thread with positions 1 to 50 of 50 for a new workflow and participant', async () => {
    const client = await app.tenant();
    for (const round of upTo(5)) {
      const texts = upTo(50).map((index) => `message ${index}`);
      const answers = await Promise.all(texts.map((text) => receive(client, round, text)));
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
      expect(new Set(answers.map(({ body }) => body.threadId)).size).toBe(1);
      expect(answers.map(({ body }) => body.position).sort((a, b) => a - b)).toEqual(upTo(50));

      const { body: thread } = await client.rest('GET', `/threads/${answers[0]!.body.threadId}`);
      const stored = new Map(
        thread.messages.map(({ id, content }: { id: string; content: object }) => [id, content]),
      );
      expect(answers.map(({ body }) => stored.get(body.messageId))).toEqual(texts.map((body) => ({ body })));
    }
    const { body } = await client.rest('GET', '/threads?pageSize=100');
    expect(body.threads).toHaveLength(5);
    await checkSequences([client]);
    await checkPositions();
    expect(await deadlocks()).toBe(0);
  });

  it('are one with the same idempotency key, 50 times at once', async () => {
    const client = await app.tenant();
    const answers = await Promise.all(
      upTo(50).map(() =>
        client.rest(
          'POST',
          '/inbound',
          { ...address(1), content: { body: 'once' } },
          { 'idempotency-key': 'key' },
        ),
      ),
    );
    expect(new Set(answers.map(({ status, body }) => `${status} ${JSON.stringify(body)}`)).size).toBe(1);
    expect(answers[0]).toMatchObject({ status: 200, body: { position: 1 } });
    await checkPositions();
  });

  it('number 2,000 from 32 connections over 3 tenants without a gap or a deadlock', async () => {
    const clients = await tenants(3);
    const texts = upTo(2_000).map(String);
    await inParallel(32, async () => {
      for (let text = texts.pop(); text; text = texts.pop()) {
        const client = clients[Number(text) % 3]!;
        const store = Number(text) % 2 === 0 ? receive : send;
        expect((await store(client, randomInt(20), text)).status).toBe(200);
      }
    });
    const [counts] = await query(
      app.databaseUrl,
      `SELECT (SELECT count(*)::int FROM conversation_message) AS messages,
              (SELECT count(DISTINCT content ->> 'body')::int FROM conversation_message) AS texts,
              (SELECT count(*)::int FROM event WHERE type = 'message.created') AS events,
              (SELECT count(*)::int FROM conversation_message_log) AS logs`,
    );
    expect(counts).toEqual({ messages: 2_000, texts: 2_000, events: 2_000, logs: 2_000 });
    await checkSequences(clients);
    await checkPositions();
    expect(await deadlocks()).toBe(0);
  });
});

it('many processes at once that store the same threads in any order make no deadlock and no gap', async () => {
  const clients = await tenants(3);
  const database = await openDatabase({
    connectionString: app.databaseUrl,
    maxConnections: 8,
    lockTimeoutMs: 10_000,
    onError: () => {},
  });
  onTestFinished(() => database.$disconnect());
  const message = (batch: number): NewMessage => {
    const to = address(randomInt(20));
    return {
      ...to,
      tenantId: clients[randomInt(3)]!.tenantId,
      direction: 'inbound',
      expectedThreadId: null,
      newThreadId: newId(),
      messageId: newId(),
      content: '{"body":"Hello"}',
      searchText: 'Hello',
      attachments: [],
      metadata: '{}',
      idempotencyKey: `key ${batch} ${randomInt(20)}`,
      inputHash: '00',
    };
  };
  await inParallel(8, async () => {
    for (let batch = 0; batch < 40; batch++) {
      await storeMessages(
        database,
        Array.from({ length: 20 }, () => message(batch)),
        [],
      );
    }
  });
  await checkSequences(clients);
  await checkPositions();
  expect(await deadlocks()).toBe(0);
});

describe("a writer that holds a tenant's counter", () => {
  /** Takes the next number of a tenant's log, as every writer does, but takes its time to commit. */
  async function holdCounter({ tenantId }: Client): Promise<() => Promise<void>> {
    const writer = new pg.Client(app.databaseUrl);
    await writer.connect();
    await writer.query('BEGIN');
    await writer.query(
      `WITH counter AS (
         UPDATE tenant_counter SET last_sequence = last_sequence + 1 WHERE tenant_id = $1 RETURNING *
       )
       INSERT INTO event (tenant_id, sequence, type, occurred_at)
       SELECT tenant_id, last_sequence, 'test.held', now() FROM counter`,
      [tenantId],
    );
    return async () => {
      await writer.query('COMMIT');
      await writer.end();
    };
  }

  const PATIENCE_MS = 2_000;

  it('delays only that tenant, and its messages come after, without a gap', async () => {
    const [held, ...others] = (await tenants(4)) as [Client, ...Client[]];
    for (const client of [held, ...others]) await receive(client, 1);
    const commit = await holdCounter(held);

    let answered = 0;
    const waiting = upTo(30).map(async (index) => {
      const answer = await receive(held, index % 3, `${index}`);
      answered++;
      return answer;
    });
    let slowestMs = 0;
    await inParallel(12, async (connection) => {
      for (let count = 0; count < 10; count++) {
        const startedAt = Date.now();
        expect((await receive(others[connection % 3]!, connection)).status).toBe(200);
        slowestMs = Math.max(slowestMs, Date.now() - startedAt);
      }
    });
    expect(slowestMs).toBeLessThan(PATIENCE_MS);
    expect(answered).toBe(0);

    await commit();
    for (const answer of await Promise.all(waiting)) expect(answer.status).toBe(200);
    await checkSequences([held, ...others]);
    await checkPositions();
    const events = await query<{ type: string }>(
      app.databaseUrl,
      `SELECT type FROM event WHERE tenant_id = $1 ORDER BY sequence LIMIT 4`,
      [held.tenantId],
    );
    expect(events.map(({ type }) => type).slice(0, 3)).toEqual([
      'thread.created',
      'message.created',
      'test.held',
    ]);
    expect(await deadlocks()).toBe(0);
  });

  it('delays no signal of another tenant, though outcomes are recorded together', async () => {
    const [held, other] = (await tenants(2)) as [Client, Client];
    let release = () => {};
    const isHeld = new Promise<void>((resolve) => {
      release = resolve;
    });
    const handler = await startReceiver(async (request, response) => {
      if (request.body.tenantId === held.tenantId) await isHeld;
      response.end();
    });
    for (const client of [held, other]) await registerHandler(client, handler);
    for (const thread of upTo(8)) await receive(held, thread);
    await handler.waitFor(8);

    // All its outcomes come in while its counter, which each of them needs, is taken.
    const commit = await holdCounter(held);
    release();
    const startedAt = Date.now();
    for (const text of upTo(5)) await receive(other, 1, `${text}`);
    await handler.waitFor(5, ({ body }) => body.tenantId === other.tenantId);
    expect(Date.now() - startedAt).toBeLessThan(PATIENCE_MS);
    await commit();
    await eventually(async () => (await undelivered()) === 0);
    await checkSequences([held, other]);
  });
});

it('all kinds of writers at once make no deadlock, no gap and no 5xx', async () => {
  const clients = await tenants(3);
  const handler = await startReceiver(failingSometimes);
  const webhook = await startReceiver(failingSometimes);
  for (const client of clients) {
    await registerHandler(client, handler);
    for (const events of [
      ['message.created', 'message.updated'],
      ['message.created', 'thread.deleted'],
    ]) {
      await client.rest('POST', '/outbound/webhook', { url: webhook.url, events });
    }
  }

  const known = new Map(clients.map((client) => [client, [] as { messageId: string; threadId: string }[]]));
  const some = (client: Client) => known.get(client)!.at(-randomInt(1, 30));
  const note = (client: Client, answer: Answer) => {
    if (answer.status === 200) known.get(client)!.push(answer.body);
    return answer.status;
  };
  const graphql = async (client: Client, mutation: string, type: string, input: object) => {
    const { status, body } = await client.graphql(
      `mutation ($input: ${type}!) { ${mutation}(input: $input) { __typename } }`,
      { input },
    );
    const [error] = body.errors ?? [];
    return error?.extensions.code === 'NOT_FOUND' ? 404 : error ? JSON.stringify(error) : status;
  };
  const writers = {
    receive: async (client: Client) => note(client, await receive(client, randomInt(6))),
    send: async (client: Client) => note(client, await send(client, randomInt(6))),
    sendToThread: async (client: Client) =>
      note(
        client,
        await client.rest('POST', '/outbound', {
          threadId: some(client)?.threadId ?? 'thread_none',
          channel: 'chat',
          channelKey: 'key',
          content: { body: 'Hello' },
        }),
      ),
    moveStatus: (client: Client) =>
      graphql(client, 'updateMessageStatus', 'UpdateMessageStatusInput', {
        messageId: some(client)?.messageId ?? 'message_none',
        status: ['DELIVERED', 'READ', 'FAILED'][randomInt(3)],
      }),
    updateThread: (client: Client) =>
      graphql(client, 'updateThread', 'UpdateThreadInput', {
        id: some(client)?.threadId ?? 'thread_none',
        status: ['ACTIVE', 'ARCHIVED', 'CLOSED'][randomInt(3)],
        metadata: { count: randomInt(1_000) },
      }),
    deleteThread: (client: Client) =>
      graphql(client, 'deleteThread', 'DeleteThreadInput', { id: some(client)?.threadId ?? 'thread_none' }),
  };
  const often = ['receive', 'send', 'sendToThread', 'moveStatus', 'updateThread'] as const;

  const outcomes = new Map<string, number>();
  const endsAt = Date.now() + 3_000;
  await inParallel(24, async (connection) => {
    while (Date.now() < endsAt) {
      const client = clients[connection % 3]!;
      const name = randomInt(30) === 0 ? 'deleteThread' : often[randomInt(often.length)]!;
      const outcome = `${name}: ${await writers[name](client)}`;
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  });
  expect(await deadlocks()).toBe(0);
  for (const outcome of outcomes.keys()) expect(outcome).toMatch(/^\w+: (200|404)$/);
  for (const name of Object.keys(writers)) expect(outcomes.get(`${name}: 200`)).toBeGreaterThan(0);

  await eventually(async () => (await undelivered()) === 0, {
    timeoutMs: 30_000,
    describe: () => 'everything that is left to be delivered',
  });
  await checkSequences(clients);
  await checkPositions();
  expect(await deadlocks()).toBe(0);
}, 60_000);

const failingSometimes: Parameters<typeof startReceiver>[0] = async (_, response) => {
  await sleep(randomInt(20));
  response.writeHead(randomInt(10) === 0 ? 500 : 200).end();
};

const registerHandler = (client: Client, { url }: Receiver) =>
  client.data(
    'mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { secret } }',
    { input: { workflowId: '*', kind: 'HTTP', url } },
  );

/** What has not been dispatched, or not been sent. */
async function undelivered(): Promise<number> {
  const [row] = await query<{ count: number }>(
    app.databaseUrl,
    `SELECT ((SELECT count(*) FROM delivery WHERE status = 'pending')
           + (SELECT sum(c.last_sequence - d.sequence)
              FROM tenant_counter c JOIN dispatch_checkpoint d USING (tenant_id)))::int AS count`,
  );
  return row!.count;
}
