import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { eventually } from '../support/receiver.js';
import { statementsOf } from '../support/statements.js';

/** Large enough not to lie in the row itself. */
const LONG = 'word '.repeat(1_000);
const NOWHERE = 'http://127.0.0.1:9/';
const [THREADS, MESSAGES, WEBHOOKS] = [50, 20, 12];

let app: TestApp;
let client: Client;

beforeAll(async () => {
  app = await startApp({ webhookRetryScheduleSeconds: [0], signalRetryScheduleSeconds: [0] });
  client = await app.tenant();
  const { createAgentProduct } = await client.data(
    'mutation { createAgentProduct(input: {name: "Assistant"}) { agentProduct { id } } }',
  );
  const agentProductId = createAgentProduct.agentProduct.id;
  await client.data(
    `mutation { registerWorkflowHandler(input: {workflowId: "*", kind: HTTP, url: "${NOWHERE}"}) { __typename } }`,
  );
  for (let webhook = 0; webhook < WEBHOOKS; webhook++) {
    await client.rest('POST', '/outbound/webhook', { url: NOWHERE, events: ['message.created'] });
  }
  await Promise.all(
    Array.from({ length: THREADS }, async (_, thread) => {
      const workflowId = `workflow-${thread}`;
      const { createWorkflowConversation } = await client.data(
        `mutation ($input: CreateWorkflowConversationInput!) {
          createWorkflowConversation(input: $input) { workflowConversation { id } }
        }`,
        { input: { agentProductId, workflowId } },
      );
      const { id } = createWorkflowConversation.workflowConversation;
      await client.data(
        `mutation { createAgentProductRun(input: {workflowConversationId: ${id}, inputData: {a: 1}}) { __typename } }`,
      );
      const message = { workflowId, participantId: 'p', channel: 'x', channelKey: 'k' };
      for (let position = 1; position <= MESSAGES; position++) {
        const content = { body: position % 10 === 0 ? LONG : `hello ${position}` };
        const path = position % 10 === 5 ? '/outbound' : '/inbound';
        await client.rest('POST', path, { ...message, content });
      }
    }),
  );
  // What is still being sent would run statements of its own.
  await eventually(
    async () => {
      const { webhooks, signals } = await client.data(`{
        webhooks(first: 100) { edges { node { deliveries(first: 1, status: PENDING) { edges { cursor } } failed: deliveries(last: 1, status: FAILED) { edges { cursor } } } } }
        signals(first: 1, filter: {status: PENDING}) { edges { cursor } }
      }`);
      const pending = webhooks.edges.flatMap(
        ({ node }: { node: { deliveries: { edges: object[] } } }) => node.deliveries.edges,
      );
      const sent = webhooks.edges.filter(
        ({ node }: { node: { failed: { edges: object[] } } }) => node.failed.edges.length > 0,
      );
      return pending.length === 0 && signals.edges.length === 0 && sent.length === WEBHOOKS;
    },
    { timeoutMs: 60_000, describe: () => 'every delivery to have failed' },
  );
}, 120_000);
afterAll(() => app.close());

/** Lists of lists, each with how many of its fields load something: as many statements it may cost. */
const queries: Record<string, [few: number, many: number, fields: number, query: string]> = {
  'threads with last message, 20 messages, logs, unread count and conversation': [
    5,
    THREADS,
    9,
    `query ($n: Int!) { threads(first: $n) { edges { node {
      unreadCount
      lastMessage { content status }
      messages(last: 20) { edges { node { content logs { event } } } }
      workflowConversation { configuration agentProduct { name } }
    } } } }`,
  ],
  'threads with messages in both directions': [
    5,
    THREADS,
    3,
    `query ($n: Int!) { threads(first: $n) { edges { node {
      inbound: messages(first: 3, direction: INBOUND) { edges { node { direction } } }
      outbound: messages(first: 3, direction: OUTBOUND) { edges { node { direction } } }
    } } } }`,
  ],
  'messages with what was sent of them': [
    5,
    THREADS,
    8,
    `query ($n: Int!) { threads(first: $n) { edges { node { messages(first: 5) { edges { node {
      thread { unreadCount }
      signal { status attempts { error } }
      deliveries { status attempts { error } webhook { url } }
    } } } } } } }`,
  ],
  'webhooks with their deliveries': [
    2,
    WEBHOOKS,
    9,
    `query ($n: Int!) { webhooks(first: $n) { edges { node { deliveries(first: 5, status: FAILED) { edges { node {
      webhook { url } attempts { error } message { content logs { event } } thread { unreadCount }
    } } } } } } }`,
  ],
  'signals with their messages': [
    5,
    THREADS,
    5,
    `query ($n: Int!) { signals(first: $n) { edges { node { attempts { error } message { content thread { id } } } } } }`,
  ],
  'workflow conversations with runs and threads': [
    5,
    THREADS,
    10,
    `query ($n: Int!) { workflowConversations(first: $n) { edges { node {
      agentProduct { name }
      agentProductRuns(first: 3) { edges { node { inputData outputData agentProduct { name } workflowConversation { id } } } }
      threads(first: 3) { edges { node { unreadCount lastMessage { content } } } }
    } } } }`,
  ],
  'messages that a search finds': [
    5,
    THREADS,
    5,
    `query ($n: Int!) { searchMessages(query: "word", first: $n) { edges { node { content logs { event } thread { unreadCount } } } } }`,
  ],
  'events with messages and threads': [
    20,
    100,
    7,
    `query ($n: Int!) { events(first: $n, filter: {types: [MESSAGE_CREATED]}) { events { thread { unreadCount } message { content logs { event } } } } }`,
  ],
  'events with conversations': [
    5,
    THREADS,
    3,
    'query ($n: Int!) { events(first: $n, filter: {types: [CONVERSATION_CREATED]}) { events { workflowConversation { id } } } }',
  ],
};

describe('a list of lists', () => {
  it.each(Object.entries(queries))(
    'of %s costs at most a statement for each of its fields, however long it is',
    async (_name, [few, many, fields, query]) => {
      for (const n of [few, many]) {
        let answer = '';
        const statements = await statementsOf(client.tenantId, async () => {
          answer = JSON.stringify(await client.data(query, { n }));
        });
        const texts = statements.map(({ text }) => text);
        expect(texts.length, texts.join('\n')).toBeLessThanOrEqual(fields);
        expect(answer.split('{').length).toBeGreaterThan(n);
      }
    },
  );

  it('answers with what belongs to each parent', async () => {
    const { threads } = await client.data(`{ threads(first: ${THREADS}) { edges { node {
      id workflowId messageCount unreadCount
      lastMessage { position content thread { id } }
      first: messages(first: 3) { edges { node { position threadId content } } pageInfo { hasNextPage hasPreviousPage } }
      last: messages(last: 3) { edges { node { position threadId } } pageInfo { hasNextPage hasPreviousPage } }
      outbound: messages(direction: OUTBOUND) { edges { node { position } } pageInfo { hasNextPage } }
      workflowConversation { workflowId }
    } } } }`);
    expect(threads.edges).toHaveLength(THREADS);
    for (const { node } of threads.edges) {
      const positions = (list: { edges: { node: { position: number } }[] }) =>
        list.edges.map(({ node: { position } }) => position);
      expect(node.workflowConversation.workflowId).toBe(node.workflowId);
      expect(node.unreadCount).toBe(MESSAGES);
      expect(node.lastMessage).toEqual({
        position: MESSAGES,
        content: { body: LONG },
        thread: { id: node.id },
      });
      expect(positions(node.first)).toEqual([1, 2, 3]);
      expect(node.first.edges[0].node).toEqual({
        position: 1,
        threadId: node.id,
        content: { body: 'hello 1' },
      });
      expect(node.first.pageInfo).toEqual({ hasNextPage: true, hasPreviousPage: false });
      expect(positions(node.last)).toEqual([MESSAGES - 2, MESSAGES - 1, MESSAGES]);
      expect(node.last.pageInfo).toEqual({ hasNextPage: false, hasPreviousPage: true });
      expect(positions(node.outbound)).toEqual([5, 15]);
      expect(node.outbound.pageInfo.hasNextPage).toBe(false);
    }
  });

  it('asks nothing of the lists that a cursor does not belong to', async () => {
    const { workflowConversations } = await client.data(
      '{ workflowConversations(first: 1) { edges { node { threads(first: 1) { pageInfo { endCursor } } } } } }',
    );
    const cursor = workflowConversations.edges[0].node.threads.pageInfo.endCursor;
    const query = `query ($n: Int!, $cursor: String) { workflowConversations(first: $n) { edges { node {
      threads(first: 1, after: $cursor) { edges { cursor } }
    } } } }`;
    const ask = (n: number) => () => client.graphql(query, { n, cursor });
    const few = await statementsOf(client.tenantId, ask(5));
    const many = await statementsOf(client.tenantId, ask(THREADS));
    expect(many).toHaveLength(few.length);
    expect(many.length).toBeLessThanOrEqual(2);
  });

  it('with wrong arguments beside right ones spoils only its own', async () => {
    const { body } = await client.graphql(`{ threads(first: 2) { edges { node {
      id right: messages(first: 2) { edges { node { position } } }
    } } } wrong: threads(first: 2) { edges { node { messages(first: 0) { edges { cursor } } } } } }`);
    expect(body.data?.wrong ?? null).toBeNull();
    const codes = body.errors.map(({ extensions }: { extensions: object }) => extensions);
    for (const extensions of codes) {
      expect(extensions).toMatchObject({ code: 'BAD_USER_INPUT', details: [{ field: 'first' }] });
    }
  });

  it('does not read large contents that nobody asks for', async () => {
    const withContent = 'SELECT id, content FROM';
    const read = async (fields: string) =>
      (
        await statementsOf(client.tenantId, () =>
          client.data(`{ threads { edges { node { lastMessage { ${fields} } } } } }`),
        )
      ).filter(({ text }) => text.includes(withContent));
    expect(await read('status position metadata')).toHaveLength(0);
    expect(await read('status content')).toHaveLength(1);
  });
});

it('a message that was just stored is shown without being read, and as it will be read', async () => {
  const quiet = await app.tenant();
  const fields = `id threadId position direction channel channelKey content status metadata createdAt`;
  const receive = () =>
    quiet.data(
      `mutation ($input: ReceiveInboundMessageInput!) {
        receiveInboundMessage(input: $input) { message { ${fields} } }
      }`,
      {
        input: {
          workflowId: 'w',
          participantId: 'p',
          channel: 'email',
          channelKey: 'p@example.com',
          content: {
            subject: 'Ünïcode',
            nested: { z: [1.5, null], a: true },
            attachments: [{ filename: 'a.txt', contentType: 'text/plain', data: 'QQ' }],
          },
          metadata: { order: 1 },
          idempotencyKey: 'key',
        },
      },
    );
  let stored: { message: { id: string } } | undefined;
  const statements = await statementsOf(quiet.tenantId, async () => {
    stored = (await receive()).receiveInboundMessage;
  });
  expect(statements).toEqual([]);
  const read = await quiet.data(`query ($id: ID!) { message(id: $id) { ${fields} } }`, {
    id: stored!.message.id,
  });
  expect(read.message).toEqual(stored!.message);
  expect((await receive()).receiveInboundMessage).toEqual(stored);
});
