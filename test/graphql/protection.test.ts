import { getIntrospectionQuery } from 'graphql';
import type { Client as WebSocketClient } from 'graphql-ws';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseConfig } from '../../src/config.js';
import { type Client, startApp, startAppForTest, type TestApp } from '../support/app.js';
import { attacks, introspection, textOf } from '../support/attacks.js';
import { query } from '../support/query.js';
import { openRawSocket } from '../support/raw-socket.js';
import { eventually } from '../support/receiver.js';
import { connect } from '../support/subscriber.js';

let app: TestApp;
let client: Client;
beforeAll(async () => {
  app = await startApp({ maxBodyBytes: 64 * 1024 });
  client = await app.tenant();
});
afterAll(() => app.close());

// biome-ignore lint/suspicious/noExplicitAny: tests look at answers freely
type Answer = any;

/** Runs one operation; answers with its result, or with `{ errors }` when it was refused. */
const run = (socket: WebSocketClient, text: string, variables = {}): Promise<Answer> =>
  new Promise((resolve) => {
    let answer: unknown;
    socket.subscribe(
      { query: text, variables },
      {
        next: (value) => {
          answer = value;
        },
        error: (errors) => resolve({ errors }),
        complete: () => resolve(answer),
      },
    );
  });

/** A socket without a library between, that brings its key at once. */
async function openSocket(url: string, apiKey: string | null) {
  const opened = await openRawSocket(url);
  if (apiKey !== null)
    opened.send({ type: 'connection_init', payload: { authorization: `Bearer ${apiKey}` } });
  return opened;
}

describe('a hostile document', () => {
  it.each(attacks)('with $name is refused over HTTP', async (attack) => {
    const { status, body } = await client.graphql(textOf(attack));
    expect(status).toBe(400);
    expect(body.data).toBeUndefined();
    expect(body.errors[0]).toMatchObject({
      message: expect.stringMatching(attack.says),
      extensions: { code: attack.code },
    });
  });

  it.each(attacks)('with $name is refused over the WebSocket, which lives on', async (attack) => {
    const socket = connect(app.url, client.apiKey);
    const { errors } = await run(socket, textOf(attack));
    expect(errors[0]).toMatchObject({
      message: expect.stringMatching(attack.says),
      extensions: { code: attack.code },
    });
    expect((await run(socket, '{ viewer { tenantId } }')).data.viewer.tenantId).toBe(client.tenantId);
  });

  it('says everything that is too much of it at once', async () => {
    const { body } = await client.graphql(
      `{ ${'a: eventCursor '.repeat(101)} threads { edges { node ${'{ lastMessage { thread '.repeat(8)}{ id }${' } }'.repeat(8)} } } }`,
    );
    expect(body.errors).toHaveLength(1);
    expect(body.errors[0].extensions.details.map(({ issue }: { issue: string }) => issue)).toEqual([
      'has more than 15 levels',
      'has more than 50 fields at its root',
      'has more than 100 aliases',
      'has more than 50 fields that repeat another',
    ]);
  });

  it('is refused as an array of requests on both transports', async () => {
    const batch = JSON.stringify([{ query: '{ eventCursor }' }, { query: '{ eventCursor }' }]);
    const overHttp = await client.rest('POST', '/../../../graphql', batch);
    expect(overHttp.status).toBe(400);
    expect(overHttp.body.errors[0].extensions.code).toBe('BAD_REQUEST');

    const { send, messages, closed } = await openSocket(app.url, client.apiKey);
    await eventually(() => messages.length > 0);
    send({ type: 'subscribe', id: '1', payload: JSON.parse(batch) });
    expect(await closed).toBe(4400);
  });

  it('cannot ask for the schema when introspection is off, nor guess it', async () => {
    const closed = await startAppForTest({ graphqlIntrospection: false });
    const caller = await closed.tenant();
    const socket = connect(closed.url, caller.apiKey);
    for (const text of [textOf(introspection), '{ __type(name: "Query") { name } }']) {
      const { status, body } = await caller.graphql(text);
      expect(status).toBe(400);
      for (const { errors } of [body, await run(socket, text)]) {
        expect(errors[0].extensions.code).toBe('GRAPHQL_VALIDATION_FAILED');
      }
    }
    const typos: [string, object][] = [
      ['{ thread { id } thred(id: 1) { id } }', {}],
      ['{ threads(filter: {workflowIdd: "x"}) { edges { cursor } } }', {}],
      ['query ($f: ThreadFilter) { threads(filter: $f) { edges { cursor } } }', { f: { workflowIdd: 'x' } }],
      ['query ($f: ThreadFilter) { threads(filter: $f) { edges { cursor } } }', { f: { status: 'ACTIV' } }],
    ];
    for (const [text, variables] of typos) {
      const open = await client.graphql(text, variables);
      expect(JSON.stringify(open.body)).toMatch(/Did you mean/);
      const answers = [(await caller.graphql(text, variables)).body, await run(socket, text, variables)];
      for (const answer of answers) {
        expect(answer.errors.length).toBeGreaterThan(0);
        expect(JSON.stringify(answer)).not.toMatch(/Did you mean/);
      }
    }
  });
});

describe('a fault in a literal', () => {
  it.each([
    ['{ threads(first: "x") { edges { cursor } } }', 'first', /Int cannot represent/],
    [
      '{ threads(filter: {status: NOPE}) { edges { cursor } } }',
      'filter.status',
      /does not exist in "ThreadStatus"/,
    ],
    ['{ threads(filter: {nope: 1}) { edges { cursor } } }', 'filter.nope', /is not defined by type/],
    ['{ thread { id } }', 'id', /is required/],
    ['mutation { archiveThread(input: {}) { thread { id } } }', 'id', /is required/],
    [
      'mutation { registerWebhook(input: {url: "https://x.example", events: [1]}) { secret } }',
      'events[0]',
      /String cannot represent/,
    ],
  ])('is named with its place: %s', async (text, field, issue) => {
    const { status, body } = await client.graphql(text);
    expect(status).toBe(400);
    for (const { errors } of [body, await run(connect(app.url, client.apiKey), text)]) {
      expect(errors).toMatchObject([
        {
          extensions: {
            code: 'GRAPHQL_VALIDATION_FAILED',
            details: [{ field, issue: expect.stringMatching(issue) }],
          },
        },
      ]);
    }
  });
});

describe('the cost of an operation', () => {
  const dashboard = `{
    threads(first: 50) { pageInfo { endCursor } edges { cursor node {
      id participantId workflowConversation { id }
      lastMessage { content }
      messages(last: 20) { edges { node { id content logs { event timestamp } } } }
    } } }
  }`;

  it.each([
    ['{ __typename }', {}, 1],
    ['{ viewer { tenantId } }', {}, 1],
    ['{ threads { edges { node { id } } pageInfo { hasNextPage } } }', {}, 1 + 20 * 2],
    ['query ($n: Int) { threads(first: $n) { edges { node { id } } } }', { n: 7 }, 1 + 7 * 2],
    ['query ($n: Int = 3) { threads(last: $n) { edges { node { id } } } }', {}, 1 + 3 * 2],
    [
      '{ threads(first: 1) { ...p } } fragment p on ThreadConnection { edges { ...e } } fragment e on ThreadEdge { node { id } }',
      {},
      3,
    ],
    [
      '{ threads(first: 2) { edges { node { messages(first: 3) { edges { node { logs { event } } } } } } } }',
      {},
      1 + 2 * (2 + (1 + 3 * (2 + 5))),
    ],
    [dashboard, {}, 1 + 50 * (4 + (1 + 20 * (2 + 5)))],
  ])('is the number of objects that it may answer with: %s', async (text, variables, requested) => {
    const cost = { requested, limit: 20_000 };
    const { status, body } = await client.graphql(text, variables);
    expect(status).toBe(200);
    expect(body.extensions).toEqual({ cost });
    expect((await run(connect(app.url, client.apiKey), text, variables)).extensions).toEqual({ cost });
  });

  it('adds ten for a change, and lets the usual introspection through', async () => {
    const { body } = await client.graphql(
      'mutation { archiveThread(input: {id: "thread_x"}) { thread { id } } }',
    );
    expect(body.extensions.cost.requested).toBe(12);
    const schema = await client.graphql(getIntrospectionQuery());
    expect(schema.body.data.__schema.types.length).toBeGreaterThan(50);
  });

  it('is told of a refused operation too', async () => {
    const bomb = attacks.find(({ name }) => name === 'a cost bomb')!;
    const { body } = await client.graphql(textOf(bomb));
    expect(body.extensions.cost).toEqual({ requested: expect.any(Number), limit: 20_000 });
    expect(body.extensions.cost.requested).toBeGreaterThan(20_000);
    expect(body.errors[0].extensions.details).toEqual([
      { field: 'query', issue: `costs ${body.extensions.cost.requested}, and one request may cost 20000` },
    ]);
  });

  it('is limited by the minute for each key, on both transports together', async () => {
    const limited = await startAppForTest({ graphqlMaxCost: 100, graphqlCostPerMinute: 100 });
    const caller = await limited.tenant();
    const other = await limited.keyFor(caller, ['conversations:read']);
    const socket = connect(limited.url, caller.apiKey);
    const page = '{ threads(first: 20) { edges { node { id } } } }'; // 41
    const first = await caller.graphql(page);
    expect(first.body.extensions.cost).toEqual({
      requested: 41,
      limit: 100,
      perMinute: { limit: 100, remaining: 59, resetSeconds: expect.any(Number) },
    });
    expect((await run(socket, page)).extensions.cost.perMinute.remaining).toBe(18);

    const { status, headers, body } = await caller.graphql(page);
    expect(status).toBe(429);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    expect(body.data).toBeUndefined();
    const refused = await run(socket, page);
    for (const { errors } of [body, refused]) {
      expect(errors).toMatchObject([
        { extensions: { code: 'RATE_LIMITED', retryAfterSeconds: expect.any(Number) } },
      ]);
    }
    // What was refused has cost nothing, and others have budgets of their own.
    expect((await run(socket, '{ viewer { tenantId } }')).extensions.cost.perMinute.remaining).toBe(17);
    expect((await other.graphql(page)).status).toBe(200);
  });
});

it('cannot have a budget that its dearest operation would not fit into', () => {
  expect(() => parseConfig({ GRAPHQL_MAX_COST: '500', GRAPHQL_COST_PER_MINUTE: '499' })).toThrow(
    'GRAPHQL_COST_PER_MINUTE: must be at least GRAPHQL_MAX_COST (500)',
  );
});

describe('a request that takes too long', () => {
  /** Holds everything that reads threads, until it is let go. */
  async function holdThreads(url: string) {
    const holder = new pg.Client(url);
    await holder.connect();
    onTestFinished(() => holder.end());
    await holder.query('BEGIN; LOCK TABLE conversation_thread IN ACCESS EXCLUSIVE MODE');
    return () => holder.query('ROLLBACK');
  }
  const waiting = (url: string) =>
    query(
      url,
      "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );

  it('is answered with TIMEOUT, and its statement ends in Postgres, on both transports', async () => {
    const impatient = await startAppForTest({ graphqlTimeoutMs: 700 });
    const caller = await impatient.tenant();
    const socket = connect(impatient.url, caller.apiKey);
    await run(socket, '{ viewer { tenantId } }');
    const letGo = await holdThreads(impatient.databaseUrl);
    const text = '{ threads { edges { node { id messages { edges { cursor } } } } } eventCursor }';
    for (const ask of [() => caller.graphql(text), () => run(socket, text)]) {
      const answer = ask();
      await eventually(async () => (await waiting(impatient.databaseUrl)).length > 0);
      const outcome = await answer;
      expect(outcome.status ?? 504).toBe(504);
      const { errors, data } = outcome.body ?? outcome;
      expect(data).toBeUndefined();
      expect(errors).toMatchObject([{ extensions: { code: 'TIMEOUT' } }]);
      await eventually(async () => (await waiting(impatient.databaseUrl)).length === 0, { timeoutMs: 2_000 });
    }
    await letGo();
    expect((await caller.graphql(text)).body.data.threads.edges).toEqual([]);
  });

  it('holds up nobody else: the connections of many such requests are given back', async () => {
    const impatient = await startAppForTest({ graphqlTimeoutMs: 1_500 });
    const caller = await impatient.tenant();
    const letGo = await holdThreads(impatient.databaseUrl);
    const text = '{ threads { edges { node { id } } } }';
    const answers = await Promise.all(Array.from({ length: 60 }, () => caller.graphql(text)));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 504));
    expect((await caller.graphql('{ webhooks { edges { cursor } } }')).status).toBe(200);
    await letGo();
    // More at once than there are connections: none of them is still held.
    await eventually(async () => {
      const healed = await Promise.all(Array.from({ length: 20 }, () => caller.graphql(text)));
      return healed.every(({ status }) => status === 200);
    });
  });

  it('is not cut short when it changes something', async () => {
    const impatient = await startAppForTest({ graphqlTimeoutMs: 300 });
    const caller = await impatient.tenant();
    const { body } = await caller.rest('POST', '/inbound', {
      workflowId: 'w',
      participantId: 'p',
      channel: 'chat',
      channelKey: 'p',
      content: { body: 'Hello' },
    });
    const letGo = await holdThreads(impatient.databaseUrl);
    const change = caller.graphql(
      `mutation { archiveThread(input: {id: "${body.threadId}"}) { thread { status } } }`,
    );
    const query = caller.graphql(`{ thread(id: "${body.threadId}") { status } }`);
    expect((await query).status).toBe(504);
    await letGo();
    expect((await change).body.data.archiveThread.thread.status).toBe('ARCHIVED');
  });
});

describe('a socket', () => {
  it('runs at most 100 operations at once, and takes more when some have ended', async () => {
    const { send, messages } = await openSocket(app.url, client.apiKey);
    await eventually(() => messages.length === 1);
    const follow = (id: string) =>
      send({ type: 'subscribe', id, payload: { query: 'subscription { messageAdded { cursor } }' } });
    for (let id = 0; id < 101; id++) follow(String(id));
    await eventually(() => messages.length === 2);
    expect(messages[1]).toMatchObject({
      type: 'error',
      payload: [{ extensions: { code: 'RATE_LIMITED' } }],
    });
    const refusedId = messages[1].id;
    send({ type: 'complete', id: refusedId === '0' ? '1' : '0' });
    send({ type: 'subscribe', id: 'again', payload: { query: '{ viewer { tenantId } }' } });
    await eventually(() => messages.some(({ id, type }) => id === 'again' && type === 'complete'));
  });

  it('cannot run more by giving up operations that have not ended', async () => {
    const slow = await startAppForTest({ graphqlTimeoutMs: 3_000 });
    const caller = await slow.tenant();
    const holder = new pg.Client(slow.databaseUrl);
    await holder.connect();
    onTestFinished(() => holder.end());
    await holder.query('BEGIN; LOCK TABLE conversation_thread IN ACCESS EXCLUSIVE MODE');
    const { send, messages } = await openSocket(slow.url, caller.apiKey);
    await eventually(() => messages.length === 1);
    for (let id = 0; id < 150; id++) {
      send({ type: 'subscribe', id: String(id), payload: { query: '{ threads { edges { cursor } } }' } });
      if (id < 100) send({ type: 'complete', id: String(id) });
    }
    await eventually(() => messages.filter(({ type }) => type === 'error').length === 50);
  });

  it('is closed with 1009 when a message is longer than MAX_BODY_BYTES', async () => {
    const { send, messages, closed } = await openSocket(app.url, client.apiKey);
    await eventually(() => messages.length === 1);
    send({
      type: 'subscribe',
      id: '1',
      payload: { query: '{ eventCursor }', variables: { x: 'x'.repeat(70_000) } },
    });
    expect(await closed).toBe(1009);
  });

  it('is closed with 1013 when its key has MAX_CONNECTIONS_PER_KEY open', async () => {
    const small = await startAppForTest({ maxConnectionsPerKey: 2 });
    const caller = await small.tenant();
    const other = await small.keyFor(caller, ['conversations:read']);
    const isWelcome = async (apiKey: string) => {
      const { messages, closed, socket } = await openSocket(small.url, apiKey);
      const code = await Promise.race([closed, eventually(() => messages.length > 0)]);
      return { code, socket };
    };
    const first = await isWelcome(caller.apiKey);
    expect(first.code).toBeUndefined();
    expect((await isWelcome(caller.apiKey)).code).toBeUndefined();
    expect((await isWelcome(caller.apiKey)).code).toBe(1013);
    expect((await isWelcome(other.apiKey)).code).toBeUndefined();
    first.socket.close();
    await eventually(async () => (await isWelcome(caller.apiKey)).code === undefined);
  });

  it('that reads nothing is not read from, so that its answers do not fill the memory', async () => {
    const { socket, messages } = await openSocket(app.url, client.apiKey);
    await eventually(() => messages.length === 1);
    // It is sent back as it came.
    const ping = JSON.stringify({ type: 'ping', payload: { padding: 'x'.repeat(20_000) } });
    const count = 5_000;
    let sent = 0;
    const sendAll = async () => {
      for (; sent < count; sent++) await new Promise((resolve) => socket.send(ping, resolve));
    };
    socket.pause();
    const everythingIsSent = sendAll();
    let [last, lookedAgain] = [0, 0];
    await eventually(() => {
      lookedAgain = sent === last ? lookedAgain + 1 : 0;
      last = sent;
      return lookedAgain === 50 || sent === count;
    });
    expect(sent).toBeGreaterThan(0);
    expect(sent).toBeLessThan(count);
    socket.resume();
    await everythingIsSent;
    await eventually(() => messages.filter(({ type }) => type === 'pong').length === count);
  });
});
