import { afterAll, beforeAll, expect, it } from 'vitest';
import { encodeId, newId } from '../../src/ids.js';
import { type Client, startApp, type TestApp } from '../support/app.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const message = {
  workflowId: 'w',
  participantId: 'p',
  channel: 'chat',
  channelKey: 'k',
  content: { body: 'Hi' },
};

/** A tenant with a thread of so many messages, every third of them outbound. */
async function threadOf(messages: number): Promise<{ client: Client; threadId: string }> {
  const client = await app.tenant();
  let threadId = '';
  for (let position = 1; position <= messages; position++) {
    const { body } = await client.rest('POST', position % 3 === 0 ? '/outbound' : '/inbound', message);
    threadId = body.threadId;
  }
  return { client, threadId };
}

const unreadCount = async (client: Client, id: string): Promise<number> =>
  (await client.data('query ($id: ID!) { thread(id: $id) { unreadCount } }', { id })).thread.unreadCount;

const mark = (client: Client, id: string, position: unknown) =>
  client.graphql(
    'mutation ($input: MarkThreadReadInput!) { markThreadRead(input: $input) { thread { id unreadCount } } }',
    { input: { id, position } },
  );

async function keyOf(
  client: Client,
  userId: number | null,
  scopes = ['conversations:read', 'conversations:write'],
) {
  const { createApiKey } = await client.data(
    'mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }',
    { input: { name: 'reader', scopes, userId } },
  );
  return app.client(createApiKey.secret, client.tenantId);
}

it('counts the messages of both directions behind the position that was read', async () => {
  const { client, threadId } = await threadOf(7);
  expect(await unreadCount(client, threadId)).toBe(7);
  const { body } = await mark(client, threadId, 3);
  expect(body.data.markThreadRead.thread).toEqual({ id: threadId, unreadCount: 4 });
  await client.rest('POST', '/inbound', message);
  await client.rest('POST', '/outbound', message);
  expect(await unreadCount(client, threadId)).toBe(6);
  await mark(client, threadId, 9);
  expect(await unreadCount(client, threadId)).toBe(0);
});

it('only moves forward, also when many mark at once', async () => {
  const { client, threadId } = await threadOf(20);
  const positions = Array.from({ length: 20 }, (_, index) => ((index * 7) % 20) + 1);
  const answers = await Promise.all(positions.map((position) => mark(client, threadId, position)));
  for (const { body } of answers) expect(body.errors).toBeUndefined();
  expect(await unreadCount(client, threadId)).toBe(0);
  await mark(client, threadId, 2);
  await mark(client, threadId, 0);
  expect(await unreadCount(client, threadId)).toBe(0);
});

it('is kept for the user of a key, whichever key, and else for the key', async () => {
  const { client, threadId } = await threadOf(5);
  const [one, again, other] = await Promise.all([keyOf(client, 7), keyOf(client, 7), keyOf(client, 8)]);
  const [nobody, nobodyElse] = await Promise.all([keyOf(client, null), keyOf(client, null)]);
  await mark(one, threadId, 4);
  await mark(nobody, threadId, 2);
  const counts = await Promise.all(
    [one, again, other, nobody, nobodyElse].map((reader) => unreadCount(reader, threadId)),
  );
  expect(counts).toEqual([1, 1, 5, 3, 5]);
});

it('is nobody else’s business: no event, and no update of the thread', async () => {
  const { client, threadId } = await threadOf(2);
  const state = () => client.data(`{ eventCursor thread(id: "${threadId}") { updatedAt status metadata } }`);
  const before = await state();
  await mark(client, threadId, 2);
  expect(await state()).toEqual(before);
});

it('refuses positions outside the thread, naming the field', async () => {
  const { client, threadId } = await threadOf(2);
  for (const position of [3, -1, 2_000_000_000]) {
    const { status, body } = await mark(client, threadId, position);
    expect([status, body.data]).toEqual([200, null]);
    expect(body.errors).toMatchObject([
      { extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'position' }] } },
    ]);
  }
  for (const position of [2 ** 31, 1.5, '1', null]) {
    const { body } = await mark(client, threadId, position);
    expect(body.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }]);
  }
  expect(await unreadCount(client, threadId)).toBe(2);
});

it('finds no thread that is absent, deleted or no thread at all', async () => {
  const { client, threadId } = await threadOf(1);
  await client.rest('DELETE', `/threads/${threadId}?permanent=true`);
  for (const id of [threadId, encodeId('thread', newId()), encodeId('message', newId()), 'x', '']) {
    expect((await mark(client, id, 1)).body.errors).toMatchObject([{ extensions: { code: 'NOT_FOUND' } }]);
  }
});

it('goes with its thread: a new one of the same participant is unread', async () => {
  const { client, threadId } = await threadOf(3);
  await mark(client, threadId, 3);
  await client.rest('DELETE', `/threads/${threadId}?permanent=true`);
  const { body } = await client.rest('POST', '/inbound', message);
  expect(await unreadCount(client, body.threadId)).toBe(1);
});

it('shows each change of one operation as it was made', async () => {
  const { client, threadId } = await threadOf(5);
  const data = await client.data(
    `mutation ($id: ID!, $message: SendOutboundMessageInput!) {
      one: markThreadRead(input: {id: $id, position: 1}) { thread { unreadCount } }
      four: markThreadRead(input: {id: $id, position: 4}) { thread { unreadCount } }
      sent: sendOutboundMessage(input: $message) { thread { messageCount unreadCount lastMessage { position } } }
      again: sendOutboundMessage(input: $message) { thread { messageCount unreadCount lastMessage { position } } }
    }`,
    { id: threadId, message: { threadId, content: { body: 'Hi' } } },
  );
  expect(data).toEqual({
    one: { thread: { unreadCount: 4 } },
    four: { thread: { unreadCount: 1 } },
    sent: { thread: { messageCount: 6, unreadCount: 2, lastMessage: { position: 6 } } },
    again: { thread: { messageCount: 7, unreadCount: 3, lastMessage: { position: 7 } } },
  });
});
