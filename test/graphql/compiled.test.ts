import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';

/** From its tenth run on an operation is compiled; before that it is interpreted by graphql-js. */
const RUNS = 12;

let app: TestApp;
let client: Client;
let threadId: string;
let messageId: string;
beforeAll(async () => {
  app = await startApp();
  client = await app.tenant();
  for (const number of Array.from({ length: 3 }, (_, index) => index)) {
    const { status, body } = await client.rest('POST', `/inbound`, {
      workflowId: 'w',
      participantId: `p${number}`,
      channel: 'chat',
      channelKey: 'k',
      content: { body: 'Hello', constructor: 1, toString: [null, { '': 'ü' }], 'a b': true },
      metadata: { number },
    });
    expect(status).toBe(200);
    ({ threadId, messageId } = body);
  }
});
afterAll(() => app.close());

const MESSAGE = 'id position direction channel channelKey content metadata status createdAt';

/** What stays the same from one run of an operation to the next. */
async function answersTo(text: string, variables: object): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (let run = 0; run < RUNS; run++) {
    const { status, body } = await client.graphql(text, variables);
    for (const { extensions } of body.errors ?? []) delete extensions.requestId;
    answers.push({ status, body });
  }
  return answers;
}

describe('an operation that is run again and again', () => {
  it.each<[string, string, (() => object)?]>([
    [
      'a page of a thread',
      `query ($id: ID!) { thread(id: $id) { id status updatedAt messages(first: 2) {
        edges { cursor node { ${MESSAGE} logs { event timestamp details } } } pageInfo { hasNextPage endCursor } } } }`,
      () => ({ id: threadId }),
    ],
    [
      'a list',
      `{ threads(first: 2) { edges { cursor node { id messageCount lastMessage { ${MESSAGE} } } } } }`,
    ],
    [
      'fragments, aliases and an interface',
      `query ($id: ID!, $other: ID!) {
        one: node(id: $id) { __typename id ...OfThread ... on Message { position } }
        other: node(id: $other) { __typename ... on Message { ...OfMessage at: createdAt thread { ...OfThread } } ...OfThread }
      }
      fragment OfThread on Thread { status first: messages(first: 1) { edges { node { ...OfMessage } } } }
      fragment OfMessage on Message { position content thread { id } }`,
      () => ({ id: threadId, other: messageId }),
    ],
    [
      'a filter with names and numbers',
      '{ threads(first: 1, filter: {status: ACTIVE}) { edges { node { status } } } }',
    ],
    [
      'the default of a variable, which is not given or is null',
      'query ($first: Int = 1, $after: String) { threads(first: $first, after: $after) { edges { node { id } } } }',
      () => ({ after: null }),
    ],
    [
      'what there is not',
      'query ($id: ID!) { thread(id: $id) { id } node(id: $id) { id } }',
      () => ({ id: threadId.replace(/.$/, '') }),
    ],
    [
      'what is not there',
      'query ($id: ID!) { thread(id: $id) { id } }',
      () => ({ id: 'thread_01h2xcejqtf2nbrexx3vqjhp41' }),
    ],
    [
      'a field that is refused beside one that is not',
      '{ viewer { tenantId } threads(first: 1000) { edges { node { id } } } }',
    ],
    [
      'a cursor that is none',
      'query ($after: String) { threads(first: 1, after: $after) { edges { cursor } } }',
      () => ({ after: '!' }),
    ],
    [
      'the schema',
      '{ __schema { queryType { name fields { name args { name defaultValue } type { kind name } } } } }',
    ],
    ['a variable that is missing', 'query ($id: ID!) { thread(id: $id) { id } }'],
    [
      'a variable of another type',
      'query ($first: Int) { threads(first: $first) { edges { cursor } } }',
      () => ({ first: '2' }),
    ],
    [
      'a variable with members that there are not',
      'query ($filter: ThreadFilter) { threads(filter: $filter) { edges { cursor } } }',
      () => ({ filter: { status: 'ACTIV', other: { __proto__: 1 } } }),
    ],
    [
      'names that JavaScript gives a meaning to',
      `{ __proto__: viewer { constructor: tenantId toString: __typename } constructor: viewer { __proto__: tenantId }
        toJSON: viewer { toJSON: tenantId } hasOwnProperty: viewer { valueOf: tenantId } }`,
    ],
    [
      'a document with a text',
      'query { threads(filter: {workflowId: "w"}, first: 1) { edges { node { workflowId } } } }',
    ],
  ])('is answered as at first: %s', async (_, text, variables = () => ({})) => {
    const [first, ...others] = await answersTo(text, variables());
    expect(others).toEqual(Array(RUNS - 1).fill(first));
  });

  it('follows conditions that change, in fragments and outside', async () => {
    const text = `query ($yes: Boolean!, $no: Boolean = false) {
      viewer { tenantId @include(if: $yes) ...Scopes @skip(if: $yes) ... @include(if: $no) { keyId: tenantId } }
      other: viewer @skip(if: $no) { ...Scopes }
    }
    fragment Scopes on Viewer { scopes @include(if: $yes) __typename }`;
    const seen: unknown[] = [];
    for (let run = 0; run < 2 * RUNS; run++) {
      seen.push(await client.data(text, { yes: run % 2 === 0 }));
    }
    const scopes = { scopes: expect.any(Array), __typename: 'Viewer' };
    const [yes, no] = [
      { viewer: { tenantId: client.tenantId }, other: scopes },
      { viewer: { __typename: 'Viewer' }, other: { __typename: 'Viewer' } },
    ];
    expect(seen).toEqual(Array.from({ length: 2 * RUNS }, (_, run) => (run % 2 === 0 ? yes : no)));
  });

  it('sees what has changed, and what its caller may see', async () => {
    const text = 'query ($id: ID!) { thread(id: $id) { title: metadata } viewer { scopes } }';
    const stranger = await app.tenant();
    const reader = await app.keyFor(client, ['conversations:read']);
    for (let run = 0; run < RUNS; run++) {
      await client.rest('PUT', `/threads/${threadId}`, { metadata: { run } });
      const { viewer, thread } = await client.data(text, { id: threadId });
      expect(thread).toEqual({ title: { run } });
      expect(await reader.data(text, { id: threadId })).toEqual({
        thread,
        viewer: { scopes: ['conversations:read'] },
      });
      expect(await stranger.data(text, { id: threadId })).toEqual({ thread: null, viewer });
    }
  });
});

it('no text of a document becomes code, and no name', async () => {
  const world = globalThis as { compiled?: number };
  // graphql-jit marks a date in this way in the code that it makes of a document.
  const mark = '__MAGIC_DATE__33a9e76d_02e0_4128_8e92_3530ad3da74d';
  for (const text of [
    `{ threads(filter: {workflowId: "${mark}globalThis.compiled=1"}) { edges { cursor } } }`,
    `{ threads(filter: {workflowId: """${mark}globalThis.compiled=1"""}) { edges { cursor } } }`,
    `query ($f: ThreadFilter = {workflowId: "${mark}globalThis.compiled=1"}) { threads(filter: $f) { edges { cursor } } }`,
  ]) {
    const answers = await answersTo(text, {});
    expect(answers).toEqual(
      Array(RUNS).fill({
        status: 200,
        body: { data: { threads: { edges: [] } }, extensions: expect.anything() },
      }),
    );
  }
  expect(world.compiled).toBeUndefined();
});

it('a mutation keeps all members of JSON, however often it is run', async () => {
  const text = `mutation ($input: ReceiveInboundMessageInput!) { receiveInboundMessage(input: $input) { message { content } } }`;
  const content = JSON.parse('{"body": "x", "__proto__": {"a": 1}, "constructor": null, "": 0}');
  const input = { workflowId: 'w', participantId: 'p', channel: 'chat', channelKey: 'k', content };
  for (let run = 0; run < RUNS; run++) {
    const { receiveInboundMessage } = await client.data(text, { input });
    expect(JSON.stringify(receiveInboundMessage.message.content)).toBe(JSON.stringify(content));
  }
});

it('more operations than are kept compiled are answered as before', async () => {
  const operation = (number: number) =>
    `query Q${number} { ${Array.from({ length: 45 }, (_, index) => `a${index}: viewer { tenantId name${number}: __typename }`).join(' ')} }`;
  for (const round of [1, 2]) {
    for (let number = 0; number < 45; number++) {
      for (let run = 0; run < 10 / round; run++) {
        const data = await client.data(operation(number));
        expect(data.a44).toEqual({ tenantId: client.tenantId, [`name${number}`]: 'Viewer' });
      }
    }
  }
});
