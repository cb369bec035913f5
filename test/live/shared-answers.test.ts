import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Client, startApp, startAppForTest, type TestApp } from '../support/app.js';
import { openRawSocket, type RawSocket } from '../support/raw-socket.js';
import { eventually } from '../support/receiver.js';
import { statementsOf } from '../support/statements.js';

/* What subscribers get of the same event, who all listen at once. */

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const receive = async (client: Client, body: string) => {
  const message = { workflowId: 'w', participantId: 'p', channel: 'chat', channelKey: 'k' };
  const answer = await client.rest('POST', '/inbound', { ...message, content: { body } });
  expect(answer.status).toBe(200);
  return answer.body as { threadId: string; messageId: string };
};

async function openSocket({ apiKey }: Client, url = app.url): Promise<RawSocket> {
  const socket = await openRawSocket(url);
  await socket.init(apiKey);
  return socket;
}

/** Waits until what the socket asked for is under way: a query is answered after what was sent before it. */
async function settle(socket: RawSocket): Promise<void> {
  socket.run('settled', '{ eventCursor }');
  await eventually(() => socket.messages.some(({ id, type }) => id === 'settled' && type === 'complete'));
  socket.messages.splice(0);
}

const nextsOf = ({ messages }: RawSocket, id: string) =>
  messages.filter((message) => message.id === id && message.type === 'next').map(({ payload }) => payload);

const added = async (socket: RawSocket, id: string, count = 1) => {
  await eventually(() => nextsOf(socket, id).length >= count, {
    describe: () => `${count} of ${id}, got ${JSON.stringify(socket.messages)}`,
  });
  return nextsOf(socket, id);
};

/** Everything comes, also what is sent before the subscription stands. */
const ALL = 'after: "start"';

const BODY = `subscription { messageAdded(${ALL}) { message { content } } }`;

it('each has the id of its own subscription, on one socket or on several', async () => {
  const client = await app.tenant();
  const ids = ['a', 'b', '"quoted" \\ \u{1F600}'];
  const sockets = [await openSocket(client), await openSocket(client)];
  for (const socket of sockets) {
    for (const id of ids) socket.run(id, BODY);
    await settle(socket);
  }
  const bodies = ['one', 'two', 'three'];
  for (const body of bodies) await receive(client, body);
  const expected = bodies.map((body) => ({ messageAdded: { message: { content: { body } } } }));
  for (const socket of sockets) {
    for (const id of ids) {
      expect((await added(socket, id, 3)).map(({ data }) => data)).toEqual(expected);
    }
    expect(socket.messages.map(({ id }) => id).sort()).toEqual([...ids, ...ids, ...ids].sort());
  }
});

it('is what each asked for: its document, its operation of the document, its variables', async () => {
  const client = await app.tenant();
  const [socket, other] = [await openSocket(client), await openSocket(client)];
  const chosen = `subscription ($content: Boolean!, $n: Int) {
    messageAdded(${ALL}) { message { channel content @include(if: $content) thread { messages(last: $n) { edges { node { position } } } } } }
  }`;
  const named = `subscription One { messageAdded(${ALL}) { message { channel } } }
    subscription Two { messageAdded(${ALL}) { message { direction } } }`;
  socket.run('alias', `subscription { added: messageAdded(${ALL}) { message { name: channel } } }`);
  socket.run('events', `subscription { events(${ALL}, filter: {types: [MESSAGE_CREATED]}) { type } }`);
  socket.run('with', chosen, { content: true, n: 1 });
  other.run('without', chosen, { content: false, n: 2 });
  for (const [id, operationName] of [
    ['one', 'One'],
    ['two', 'Two'],
  ]) {
    other.send({ type: 'subscribe', id, payload: { query: named, operationName } });
  }
  await settle(socket);
  await settle(other);
  await receive(client, 'first');
  await receive(client, 'second');

  const second = async (from: RawSocket, id: string) => (await added(from, id, 2))[1].data;
  const positions = (...numbers: number[]) => ({
    messages: { edges: numbers.map((position) => ({ node: { position } })) },
  });
  expect(await second(socket, 'alias')).toEqual({ added: { message: { name: 'chat' } } });
  expect(await second(socket, 'events')).toEqual({ events: { type: 'MESSAGE_CREATED' } });
  expect(await second(socket, 'with')).toEqual({
    messageAdded: { message: { channel: 'chat', content: { body: 'second' }, thread: positions(2) } },
  });
  expect(await second(other, 'without')).toEqual({
    messageAdded: { message: { channel: 'chat', thread: positions(1, 2) } },
  });
  expect(await second(other, 'one')).toEqual({ messageAdded: { message: { channel: 'chat' } } });
  expect(await second(other, 'two')).toEqual({ messageAdded: { message: { direction: 'INBOUND' } } });
});

it('is what each key may see: by its scopes, its own unread messages, and of no other tenant', async () => {
  const client = await app.tenant();
  const keys = {
    full: client,
    reader: await app.keyFor(client, ['conversations:read']),
    other: await app.keyFor(client, ['conversations:read', 'conversations:write', 'webhooks:manage']),
    stranger: await app.tenant(),
  };
  const { threadId } = await receive(client, 'before');
  await keys.other.data(
    'mutation ($id: ID!) { markThreadRead(input: {id: $id, position: 1}) { thread { id } } }',
    {
      id: threadId,
    },
  );
  const query = `subscription ($after: String) {
    messageAdded(after: $after) { message { content thread { unreadCount } deliveries { id } } }
  }`;
  const sockets: Record<string, RawSocket[]> = {};
  for (const [name, key] of Object.entries(keys)) {
    const { eventCursor: after } = await key.data('{ eventCursor }');
    sockets[name] = [await openSocket(key), await openSocket(key)];
    for (const socket of sockets[name]) {
      socket.run(name, query, { after });
      await settle(socket);
    }
  }
  await receive(client, 'Hello');
  await receive(keys.stranger, 'Elsewhere');

  const shown = async (name: string) =>
    Promise.all(sockets[name]!.map(async (socket) => (await added(socket, name))[0]));
  const seen = (body: string, unreadCount: number) => ({
    messageAdded: { message: { content: { body }, thread: { unreadCount }, deliveries: [] } },
  });
  for (const { data, errors } of await shown('full'))
    expect([data, errors]).toEqual([seen('Hello', 2), undefined]);
  for (const { data } of await shown('other')) expect(data).toEqual(seen('Hello', 1));
  for (const { data } of await shown('stranger')) expect(data).toEqual(seen('Elsewhere', 1));
  for (const { data, errors } of await shown('reader')) {
    expect(data).toBe(null);
    expect(errors).toMatchObject([
      { path: ['messageAdded', 'message', 'deliveries'], extensions: { code: 'FORBIDDEN' } },
    ]);
  }
  for (const socket of Object.values(sockets).flat()) expect(socket.messages).toHaveLength(1);
});

it('is worked out once for all who ask the same with one key', async () => {
  const client = await app.tenant();
  const query = `subscription { messageAdded(${ALL}) { message { thread { unreadCount } } } }`;
  const sockets = await Promise.all([1, 2, 3, 4].map(() => openSocket(client)));
  for (const socket of sockets) {
    socket.run('1', query);
    await settle(socket);
  }
  const statements = await statementsOf(client.tenantId, async () => {
    await receive(client, 'Hello');
    await Promise.all(sockets.map((socket) => added(socket, '1')));
  });
  expect(statements.filter(({ text }) => text.includes('conversation_thread_reader'))).toHaveLength(1);
});

it('tells each what its own subscription cost', async () => {
  const limited = await startAppForTest({ graphqlCostPerMinute: 1_000 });
  const sockets = [
    await openSocket(limited.operator, limited.url),
    await openSocket(limited.operator, limited.url),
  ];
  for (const socket of sockets) {
    socket.run('1', BODY);
    await settle(socket);
  }
  await receive(limited.operator, 'Hello');
  const costs = await Promise.all(
    sockets.map(async (socket) => (await added(socket, '1'))[0].extensions.cost),
  );
  const { requested } = costs[0];
  expect(costs[0]).toMatchObject({ requested, perMinute: { remaining: 1_000 - requested } });
  expect(costs[1].perMinute.remaining).toBeLessThan(costs[0].perMinute.remaining);
});

it.each(['is revoked', 'expires'])(
  'stops for a key that %s, and goes on for one with the same rights',
  async (how) => {
    const client = await app.tenant();
    const expiresAt = how === 'expires' ? new Date(Date.now() + 1_500).toISOString() : null;
    const { createApiKey } = await client.data(
      `mutation ($expiresAt: DateTime) {
      createApiKey(input: {name: "short", scopes: ["conversations:read"], expiresAt: $expiresAt}) { apiKey { id } secret }
    }`,
      { expiresAt },
    );
    const ending = app.client(createApiKey.secret, client.tenantId);
    const ended = await openSocket(ending);
    const good = await openSocket(await app.keyFor(client, ['conversations:read']));
    for (const socket of [ended, good]) {
      socket.run('1', BODY);
      await settle(socket);
    }
    await receive(client, 'before');
    await Promise.all([added(ended, '1'), added(good, '1')]);
    if (!expiresAt) {
      const revoke = 'mutation ($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { id } } }';
      await client.data(revoke, { id: createApiKey.apiKey.id });
    }
    await eventually(async () => (await ending.rest('GET', '/threads')).status === 401);
    await receive(client, 'after');
    await added(good, '1', 2);
    expect(await ended.closed).toBe(4403);
    expect(nextsOf(ended, '1')).toHaveLength(1);
  },
);
