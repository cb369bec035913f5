import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { connect, subscribe } from '../support/subscriber.js';

const MEGABYTE = 1024 * 1024;
const MESSAGES = 13;

let app: TestApp;
let client: Client;
let threadIds: string[];

/** A thread of 13 messages of 3 MB each, and 12 more of one. */
beforeAll(async () => {
  app = await startApp();
  client = await app.tenant();
  const content = { body: 'x'.repeat(3 * MEGABYTE) };
  const send = async (participantId: string) =>
    (
      await client.rest('POST', '/inbound', {
        workflowId: 'w',
        participantId,
        channel: 'x',
        channelKey: 'k',
        content,
      })
    ).body.threadId;
  threadIds = [];
  for (let message = 0; message < MESSAGES; message++) threadIds[0] = await send('p');
  for (let thread = 1; thread < MESSAGES; thread++) threadIds.push(await send(`p${thread}`));
}, 120_000);
afterAll(() => app.close());

interface Page {
  edges: { node: { position: number; content?: object } }[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string; endCursor: string };
}

const pageOf = async (page: string, fields = 'position content'): Promise<Page> =>
  (
    await client.data(`{ thread(id: "${threadIds[0]}") { messages(${page}) {
      edges { node { ${fields} } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } } }`)
  ).thread.messages;

const positionsOf = ({ edges }: Page) => edges.map(({ node }) => node.position);

describe('a page of large messages', () => {
  it('is shorter than asked for, says so, and goes on without a gap', async () => {
    const positions: number[] = [];
    let page = await pageOf('first: 100');
    for (;;) {
      expect(page.edges.length).toBeGreaterThan(0);
      expect(JSON.stringify(page).length).toBeLessThan(17 * MEGABYTE);
      positions.push(...positionsOf(page));
      if (!page.pageInfo.hasNextPage) break;
      page = await pageOf(`first: 100, after: "${page.pageInfo.endCursor}"`);
    }
    expect(positions).toEqual(Array.from({ length: MESSAGES }, (_, index) => index + 1));
  });

  it('is so backwards too', async () => {
    const positions: number[] = [];
    let page = await pageOf('last: 100');
    for (;;) {
      expect(page.edges.length).toBeGreaterThan(0);
      expect(JSON.stringify(page).length).toBeLessThan(17 * MEGABYTE);
      positions.unshift(...positionsOf(page));
      if (!page.pageInfo.hasPreviousPage) break;
      page = await pageOf(`last: 100, before: "${page.pageInfo.startCursor}"`);
    }
    expect(positions).toEqual(Array.from({ length: MESSAGES }, (_, index) => index + 1));
  });
});

it('an answer holds so much content, and names the fields that it has no room for', async () => {
  const { status, body } = await client.graphql(
    `{ threads(first: 100) { edges { node { id lastMessage { content } } } } }`,
  );
  expect(status).toBe(200);
  expect(body.data.threads.edges).toHaveLength(MESSAGES);
  const shown = body.data.threads.edges.filter(
    ({ node }: { node: { lastMessage: object | null } }) => node.lastMessage !== null,
  );
  expect(shown).toHaveLength(10);
  expect(body.errors).toHaveLength(MESSAGES - 10);
  for (const { path, extensions } of body.errors) {
    expect(path.slice(-2)).toEqual(['lastMessage', 'content']);
    expect(extensions).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', details: [{ field: 'content' }] });
  }
});

it('pages of many threads share the room, and each has its first message', async () => {
  const { threads } = await client.data(
    '{ threads(first: 100) { edges { node { messages(first: 50) { edges { node { position } } pageInfo { hasNextPage } } } } } }',
  );
  const sizes = threads.edges.map(({ node }: { node: { messages: Page } }) => node.messages.edges.length);
  expect(sizes).toEqual(Array(MESSAGES).fill(1));
  const more = threads.edges.map(
    ({ node }: { node: { messages: Page } }) => node.messages.pageInfo.hasNextPage,
  );
  expect(more.sort()).toEqual([...Array(MESSAGES - 1).fill(false), true]);
});

it('a search of large messages makes shorter pages too', async () => {
  const { searchMessages } = await client.data(
    '{ searchMessages(query: "-nothing", first: 100) { edges { node { content } } pageInfo { hasNextPage } } }',
  );
  expect(searchMessages.edges).toHaveLength(5);
  expect(searchMessages.pageInfo.hasNextPage).toBe(true);
});

it('a run’s data counts as content does', async () => {
  const tenant = await app.tenant();
  const { createAgentProduct } = await tenant.data(
    'mutation { createAgentProduct(input: {name: "x"}) { agentProduct { id } } }',
  );
  const { createWorkflowConversation } = await tenant.data(
    `mutation { createWorkflowConversation(input: {agentProductId: ${createAgentProduct.agentProduct.id}}) { workflowConversation { id } } }`,
  );
  const { id } = createWorkflowConversation.workflowConversation;
  for (let run = 0; run < 36; run++) {
    await tenant.data(
      `mutation ($data: JSONObject) { createAgentProductRun(input: {workflowConversationId: ${id}, inputData: $data}) { __typename } }`,
      { data: { text: 'x'.repeat(MEGABYTE - 100) } },
    );
  }
  const ask = (fields: string) =>
    tenant.graphql(
      `{ workflowConversation(id: ${id}) { agentProductRuns(first: 100) { edges { node { id ${fields} } } } } }`,
    );
  const { body } = await ask('inputData outputData');
  const { edges } = body.data.workflowConversation.agentProductRuns;
  expect(edges).toHaveLength(36);
  const shown = edges.filter(({ node }: { node: { inputData: object | null } }) => node.inputData !== null);
  expect(shown).toHaveLength(32);
  expect(body.errors).toHaveLength(8);
  for (const { extensions } of body.errors) expect(extensions.code).toBe('PAYLOAD_TOO_LARGE');
  expect((await ask('status')).body.errors).toBeUndefined();
});

it('events of large messages all arrive, in order', async () => {
  const live = await subscribe(
    connect(app.url, client.apiKey),
    'subscription { messageAdded(after: "start") { sequence message { position content } } }',
  );
  const events = await live.waitFor(2 * MESSAGES - 1);
  const sequences = events.map(({ data }) => data.messageAdded.sequence);
  expect(sequences).toEqual([...sequences].sort((one, other) => one - other));
  expect(new Set(sequences).size).toBe(2 * MESSAGES - 1);
  for (const { data } of events) expect(data.messageAdded.message.content.body).toHaveLength(3 * MEGABYTE);
});
