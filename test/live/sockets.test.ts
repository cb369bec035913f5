import { once } from 'node:events';
import { request } from 'node:http';
import { connect as openTcp } from 'node:net';
import { createClient } from 'graphql-ws';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { type CloseEvent, WebSocket } from 'ws';
import { type Client, REST, startApp, startAppForTest, type TestApp } from '../support/app.js';
import { follow } from '../support/event-stream.js';
import { query } from '../support/query.js';
import { openRawSocket, type RawSocket } from '../support/raw-socket.js';
import { eventually } from '../support/receiver.js';
import { subscribe } from '../support/subscriber.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const SUBSCRIPTION = 'subscription ($after: String) { events(after: $after) { sequence cursor } }';

const receive = async (client: Client, body: string) => {
  const message = { workflowId: 'w', participantId: 'p', channel: 'chat', channelKey: 'k' };
  expect((await client.rest('POST', '/inbound', { ...message, content: { body } })).status).toBe(200);
};

async function makeKey(client: Client, expiresAt: string | null = null) {
  const { createApiKey } = await client.data(
    `mutation ($expiresAt: DateTime) {
      createApiKey(input: {name: "live", scopes: ["conversations:read"], expiresAt: $expiresAt}) { apiKey { id } secret }
    }`,
    { expiresAt },
  );
  return { id: createApiKey.apiKey.id, client: app.client(createApiKey.secret, client.tenantId) };
}

async function initialised(url: string, apiKey: string): Promise<RawSocket> {
  const socket = await openRawSocket(url);
  await socket.init(apiKey);
  return socket;
}

describe('a message', () => {
  // Where the length of a frame is written in one way and in the next (RFC 6455, section 5.2).
  it.each([125, 126, 65_535, 65_536, 200_000])('of %i bytes arrives as it is', async (bytes) => {
    const socket = await initialised(app.url, app.apiKey);
    const end = { id: 'ü€😀', type: 'complete' };
    const id = end.id.padEnd(end.id.length + bytes - Buffer.byteLength(JSON.stringify(end)), 'x');
    const lengths: number[] = [];
    socket.socket.on('message', (data: Buffer) => lengths.push(data.length));
    socket.run(id, '{ viewer { tenantId } }');
    await eventually(() => socket.messages.at(-1).type === 'complete');
    expect(socket.messages.slice(1).map((message) => message.id)).toEqual([id, id]);
    expect(lengths.at(-1)).toBe(bytes);
  });
});

describe('the protocol: a socket is closed', () => {
  it('with 4406 when it speaks another protocol, or names none', async () => {
    expect(await (await openRawSocket(app.url, ['graphql-ws', 'soap'])).closed).toBe(4406);
    expect(await (await openRawSocket(app.url, [])).closed).toBe(4406);
    const both = await openRawSocket(app.url, ['graphql-ws', 'graphql-transport-ws']);
    expect(both.socket.protocol).toBe('graphql-transport-ws');
  });

  it('with 4401 when it subscribes before it brought its key', async () => {
    const socket = await openRawSocket(app.url);
    socket.run('1', SUBSCRIPTION);
    expect(await socket.closed).toBe(4401);
  });

  it('with 4401 when it subscribes before its key was accepted', async () => {
    const socket = await openRawSocket(app.url);
    socket.send({ type: 'connection_init', payload: { authorization: `Bearer ${app.apiKey}` } });
    socket.run('1', SUBSCRIPTION);
    expect(await socket.closed).toBe(4401);
  });

  it('with 4429 when it brings its key twice', async () => {
    const socket = await initialised(app.url, app.apiKey);
    socket.send({ type: 'connection_init', payload: { authorization: `Bearer ${app.apiKey}` } });
    expect(await socket.closed).toBe(4429);
  });

  it('with 4409 when an id is in use; not when its operation has ended', async () => {
    const socket = await initialised(app.url, app.apiKey);
    for (const round of [1, 2]) {
      socket.run('1', '{ viewer { tenantId } }');
      await eventually(() => socket.messages.filter(({ type }) => type === 'complete').length === round);
    }
    socket.run('1', SUBSCRIPTION);
    socket.send({ type: 'complete', id: '1' });
    socket.run('1', SUBSCRIPTION);
    socket.run('1', SUBSCRIPTION);
    expect(await socket.closed).toBe(4409);
  });

  it.each([
    ['no JSON', '{"type":'],
    ['no object', '[]'],
    ['no type', '{}'],
    ['another type', '{"type":"start"}'],
    ['no id', '{"type":"subscribe","payload":{"query":"{ viewer { tenantId } }"}}'],
    ['no query', '{"type":"subscribe","id":"1","payload":{}}'],
  ])('with 4400 when it sends %s', async (_case, text) => {
    const socket = await initialised(app.url, app.apiKey);
    socket.socket.send(text);
    expect(await socket.closed).toBe(4400);
  });

  it('with 4408 when it brings no key in time', async () => {
    expect(await (await openRawSocket(app.url)).closed).toBe(4408);
  });
});

describe('a key', () => {
  const idle = async (client: Client) => {
    const socket = await initialised(app.url, client.apiKey);
    socket.run('1', SUBSCRIPTION);
    return {
      socket,
      empty: await initialised(app.url, client.apiKey),
      stream: await follow(app.url, client),
    };
  };

  it.each<[string, (client: Client, id: string) => Promise<unknown>]>([
    [
      'is revoked',
      (client, id) =>
        client.data('mutation ($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { id } } }', { id }),
    ],
    ['expires', async () => {}],
  ])('that %s ends what is idle within 5 s: sockets with 4403, and event streams', async (how, end) => {
    const client = await app.tenant();
    const expiresAt = how === 'expires' ? new Date(Date.now() + 2_000) : null;
    const key = await makeKey(client, expiresAt?.toISOString());
    const { socket, empty, stream } = await idle(key.client);
    const other = await idle(client);
    await end(client, key.id);
    const endedAt = expiresAt?.getTime() ?? Date.now();
    expect(await Promise.all([socket.closed, empty.closed, stream.ended])).toEqual([4403, 4403, undefined]);
    expect(Date.now() - endedAt).toBeLessThan(5_000);
    await receive(client, 'Hello');
    await other.stream.waitFor(2);
    await eventually(() => other.socket.messages.length === 3);
    expect(stream.events).toEqual([]);
  });

  it('has MAX_CONNECTIONS_PER_KEY for WebSockets and event streams together', async () => {
    const small = await startAppForTest({ maxConnectionsPerKey: 2 });
    const client = await small.tenant();
    const socket = await initialised(small.url, client.apiKey);
    const stream = await follow(small.url, client);
    const refused = await client.rest('GET', '/events');
    expect([refused.status, refused.body.error.code]).toEqual([429, 'rate_limited']);
    expect(refused.headers.get('retry-after')).toBe('5');
    stream.stop();
    await eventually(async () => (await client.rest('GET', '/events')).status === 200);
    socket.socket.close();
    await socket.closed;
    await eventually(async () => {
      const one = await follow(small.url, client).catch(() => null);
      const other = await follow(small.url, client).catch(() => null);
      one?.stop();
      other?.stop();
      return one !== null && other !== null;
    });
  });

  it('gets the place of a subscription back that could not begin', async () => {
    const small = await startAppForTest({ maxSubscriptionsPerKey: 1 });
    const client = await small.tenant();
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const faulty = await initialised(small.url, client.apiKey);
    const payload = `{"query":${JSON.stringify(SUBSCRIPTION)},"variables":{"deep":${deep}}}`;
    faulty.socket.send(`{"type":"subscribe","id":"1","payload":${payload}}`);
    // It may be refused or end the connection; either way it is over then.
    const refused = eventually(() => faulty.messages.some(({ id }) => id === '1'));
    await Promise.race([faulty.closed, refused]);
    faulty.socket.close();
    await faulty.closed;
    const stream = await follow(small.url, client);
    stream.stop();
  });

  it('has MAX_SUBSCRIPTIONS_PER_KEY for subscriptions and event streams together; queries are none', async () => {
    const small = await startAppForTest({ maxSubscriptionsPerKey: 3 });
    const client = await small.tenant();
    const [one, other] = [
      await initialised(small.url, client.apiKey),
      await initialised(small.url, client.apiKey),
    ];
    one.run('1', SUBSCRIPTION);
    one.run('2', SUBSCRIPTION);
    // Answered after what was sent before it.
    one.run('3', '{ eventCursor }');
    await eventually(() => one.messages.some(({ id, type }) => id === '3' && type === 'complete'));
    const stream = await follow(small.url, client);
    other.run('1', SUBSCRIPTION);
    await eventually(() => other.messages.length === 2);
    expect(other.messages[1]).toMatchObject({
      type: 'error',
      id: '1',
      payload: [{ extensions: { code: 'RATE_LIMITED' } }],
    });
    expect((await client.rest('GET', '/events')).status).toBe(429);
    stream.stop();
    await eventually(async () => (await client.rest('GET', '/events')).status === 200);
    one.send({ type: 'complete', id: '1' });
    await eventually(() => {
      other.run('again', SUBSCRIPTION);
      other.send({ type: 'complete', id: 'again' });
      return other.messages.at(-1).id !== 'again' || other.messages.at(-1).type !== 'error';
    });
    await receive(client, 'Hello');
    await eventually(() => one.messages.filter(({ id, type }) => id === '2' && type === 'next').length === 2);
    expect(one.messages.filter(({ id, type }) => id === '1' && type === 'next')).toEqual([]);
  });
});

describe('a stop', () => {
  it('gives every client what is pending, then 1001 or the end of its stream', async () => {
    const MESSAGES = 100;
    const own = await startApp();
    const client = await own.tenant();
    const live = await initialised(own.url, client.apiKey);
    live.run('1', SUBSCRIPTION);
    const stream = await follow(own.url, client);
    const idle = await initialised(own.url, client.apiKey);
    // Nothing of this is read until the stop has begun.
    live.socket.pause();
    await Promise.all(Array.from({ length: MESSAGES }, (_, n) => receive(client, `message ${n}`)));
    const young = await openRawSocket(own.url);
    const startedAt = Date.now();
    const closing = own.close();
    live.socket.resume();
    expect(await Promise.all([live.closed, idle.closed, young.closed, stream.ended])).toEqual([
      ...[1001, 1001, 1001],
      undefined,
    ]);
    await closing;
    expect(Date.now() - startedAt).toBeLessThan(8_000);
    const sequences = Array.from({ length: MESSAGES + 1 }, (_, index) => index + 1);
    const seen = live.messages.filter(({ type }) => type === 'next');
    expect(seen.map(({ payload }) => payload.data.events.sequence)).toEqual(sequences);
    expect(stream.events.map(({ data }) => data.sequence)).toEqual(sequences);
    // "Complete" would tell a client that it need not come back.
    expect(live.messages.filter(({ type }) => type === 'complete')).toEqual([]);
  });

  it('does not wait for a connection that was opened in advance', async () => {
    const own = await startApp();
    const unused = openTcp(Number(new URL(own.url).port), '127.0.0.1');
    unused.on('error', () => {});
    await once(unused, 'connect');
    const startedAt = Date.now();
    const closed = once(unused, 'close');
    await own.close();
    await closed;
    expect(Date.now() - startedAt).toBeLessThan(5_000);
  });

  it('does not wait for those who read nothing', async () => {
    const own = await startApp();
    const client = await own.tenant();
    const socket = await initialised(own.url, client.apiKey);
    socket.run('1', 'subscription { events { message { content } } }');
    const unread = await new Promise<{ destroyed: boolean }>((resolve) =>
      request(`${own.url}${REST}/events`, { headers: { authorization: `Bearer ${client.apiKey}` } })
        .on('response', (response) => resolve(response.on('error', () => {}).pause()))
        .on('error', () => {})
        .end(),
    );
    socket.socket.pause();
    for (let n = 0; n < 40; n++) await receive(client, 'x'.repeat(500_000));
    const startedAt = Date.now();
    await own.close();
    expect(Date.now() - startedAt).toBeLessThan(8_000);
    expect(unread.destroyed).toBe(false);
  });

  it('answers an operation that is under way first', async () => {
    const own = await startApp();
    const socket = await initialised(own.url, own.apiKey);
    const lock = new pg.Client(own.databaseUrl);
    lock.on('error', () => {});
    await lock.connect();
    await lock.query('BEGIN; LOCK TABLE conversation_thread IN ACCESS EXCLUSIVE MODE');
    socket.run('1', '{ threads { edges { node { id } } } }');
    const waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'conversation_thread'::regclass";
    await eventually(async () => (await lock.query(waiting)).rowCount === 1);
    const closing = own.close();
    await eventually(async () => (await fetch(`${own.url}/readyz`).catch(() => null))?.status !== 200);
    await lock.query('COMMIT');
    await lock.end();
    expect(await socket.closed).toBe(1001);
    expect(socket.messages.map(({ type }) => type)).toEqual(['connection_ack', 'next', 'complete']);
    expect(socket.messages[1].payload.data).toEqual({ threads: { edges: [] } });
    await closing;
  });

  it('is no loss to a client that goes on elsewhere', async () => {
    const stays = await startAppForTest();
    const leaves = await startApp({ databaseUrl: stays.databaseUrl, bootstrapApiKey: stays.apiKey });
    let url = leaves.url;
    const client = createClient({
      url: () => `${url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${stays.apiKey}` },
      retryWait: async () => {},
    });
    const variables = { after: 'start' };
    const live = await subscribe(client, SUBSCRIPTION, variables, ({ data }) => {
      variables.after = data.events.cursor;
    });
    const codes: number[] = [];
    client.on('closed', (event) => codes.push((event as CloseEvent).code));
    const writing = (async () => {
      for (let n = 0; n < 60; n++) await receive(stays.operator, `message ${n}`);
    })();
    await live.waitFor(20);
    url = stays.url;
    await leaves.close();
    await writing;
    const sequences = (await live.waitFor(61)).map(({ data }) => data.events.sequence);
    expect(sequences).toEqual(Array.from({ length: 61 }, (_, index) => index + 1));
    expect(live.errors).toEqual([]);
    expect(codes).toEqual([1001]);
    await client.dispose();
  });
});

it('a database that is away ends no subscription for good', async () => {
  const own = await startAppForTest();
  const client = createClient({
    url: `${own.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${own.apiKey}` },
    retryAttempts: Number.POSITIVE_INFINITY,
    retryWait: async () => {},
    shouldRetry: (problem) => (problem as CloseEvent).code !== 4403,
  });
  onTestFinished(() => client.dispose());
  const variables = { after: 'start' };
  const live = await subscribe(client, SUBSCRIPTION, variables, ({ data }) => {
    variables.after = data.events.cursor;
  });
  await receive(own.operator, 'before');
  await live.waitFor(2);
  const codes: number[] = [];
  client.on('closed', (event) => codes.push((event as CloseEvent).code));

  const name = new URL(own.databaseUrl).pathname.slice(1);
  const { adminUrl } = inject('postgres');
  await query(adminUrl, `ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  await query(adminUrl, 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name]);
  // What stands goes on standing; only what is opened now finds the database away.
  expect(codes).toEqual([]);
  client.terminate();
  await eventually(() => codes.filter((code) => code === 1013).length > 2);
  await query(adminUrl, `ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  await eventually(async () => (await own.operator.rest('GET', '/threads')).status === 200);
  await receive(own.operator, 'after');
  expect((await live.waitFor(3)).map(({ data }) => data.events.sequence)).toEqual([1, 2, 3]);
  expect(live.errors).toEqual([]);
});
