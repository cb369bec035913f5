import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { decodeId, encodeId, type Noun, newId } from '../../src/ids.js';
import { createSchema } from '../../src/resolvers/schema.js';
import { restRoutes } from '../../src/rest-compat/routes.js';
import { type Answer, type Client, REST, startApp, type TestApp } from '../support/app.js';
import { eventually, startReceiver } from '../support/receiver.js';
import { connect, subscribe } from '../support/subscriber.js';

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

/** Nothing listens there, so deliveries stay as they are for the length of a test. */
const NOWHERE = 'http://127.0.0.1:9/';

/** A tenant with one of everything. Its texts are words that nobody else uses. */
async function furnish(client: Client) {
  const word = client.tenantId;
  const [workflowId, participantId, channel] = [`workflow-${word}`, `participant-${word}`, `channel-${word}`];
  const { createAgentProduct } = await client.data(
    'mutation ($input: CreateAgentProductInput!) { createAgentProduct(input: $input) { agentProduct { id } } }',
    { input: { name: `product-${word}` } },
  );
  const productId = createAgentProduct.agentProduct.id as number;
  const { createWorkflowConversation } = await client.data(
    'mutation ($input: CreateWorkflowConversationInput!) { createWorkflowConversation(input: $input) { workflowConversation { id } } }',
    {
      input: {
        agentProductId: productId,
        workflowId,
        userId: 7,
        configuration: { running: true, secret: word },
      },
    },
  );
  const conversationId = createWorkflowConversation.workflowConversation.id as number;
  const { createAgentProductRun } = await client.data(
    'mutation ($input: CreateAgentProductRunInput!) { createAgentProductRun(input: $input) { agentProductRun { id } } }',
    { input: { workflowConversationId: conversationId, agentProductId: productId } },
  );
  const registered = await client.rest('POST', '/outbound/webhook', {
    url: NOWHERE,
    events: ['message.created'],
  });
  const { registerWorkflowHandler } = await client.data(
    `mutation ($input: RegisterWorkflowHandlerInput!) {
      registerWorkflowHandler(input: $input) { workflowHandler { id } }
    }`,
    { input: { workflowId, kind: 'HTTP', url: NOWHERE } },
  );
  const message = { workflowId, participantId, channel, channelKey: `key-${word}`, content: { body: word } };
  const inbound = await client.rest('POST', '/inbound', message);
  const outbound = await client.rest('POST', '/outbound', message);
  expect([registered.status, inbound.status, outbound.status]).toEqual([200, 200, 200]);
  const { threadId } = inbound.body;
  const [inboundId, outboundId] = [inbound.body.messageId, outbound.body.messageId] as [string, string];

  let signalId = '';
  let deliveryId = '';
  await eventually(async () => {
    const data = await client.data(
      `query ($inbound: ID!, $outbound: ID!) {
        inbound: message(id: $inbound) { signal { id } }
        outbound: message(id: $outbound) { deliveries { id } }
      }`,
      { inbound: inboundId, outbound: outboundId },
    );
    signalId = data.inbound.signal?.id ?? '';
    deliveryId = data.outbound.deliveries[0]?.id ?? '';
    return signalId !== '' && deliveryId !== '';
  });
  const email = await client.rest('POST', '/inbound', {
    ...message,
    channel: 'email',
    content: { body: word, attachments: [{ filename: word, contentType: 'text/plain', data: 'QQ' }] },
  });
  const { body: withFile } = await client.rest('GET', `/messages/${email.body.messageId}`);
  const { apiKeys } = await client.data('{ apiKeys { edges { node { id } } } }');
  return {
    client,
    word,
    workflowId,
    participantId,
    channel,
    productId,
    conversationId,
    runId: createAgentProductRun.agentProductRun.id as number,
    threadId: threadId as string,
    inboundId,
    outboundId,
    attachmentId: withFile.content.attachments[0].id as string,
    webhookId: registered.body.id as string,
    handlerId: registerWorkflowHandler.workflowHandler.id as string,
    signalId,
    deliveryId,
    keyId: apiKeys.edges[0].node.id as string,
  };
}
type World = Awaited<ReturnType<typeof furnish>>;

/** Whose things B must not see, and B, who has things of its own. */
let a: World;
let b: World;
let before: unknown;
beforeEach(async () => {
  [a, b] = await Promise.all([furnish(await app.tenant()), furnish(await app.tenant())]);
  before = await everythingOf(a);
});

const KEPT = [
  'conversation_thread',
  'conversation_message',
  'conversation_message_log',
  'conversation_thread_reader',
  'event',
  'idempotency_key',
  'webhook',
  'workflow_handler',
  'api_key',
  'workflow_conversations',
  'agent_products',
  'agent_product_runs',
];

async function everythingOf({ word }: World): Promise<unknown> {
  const rows = await Promise.all(
    KEPT.map((table) =>
      database.query(
        `SELECT to_jsonb(t) - 'last_used_at' AS row FROM ${table} t WHERE tenant_id = $1 ORDER BY 1`,
        [word],
      ),
    ),
  );
  return rows.map((result) => result.rows);
}

/** Everything by which A could be recognised in an answer. */
const marksOf = (world: World) => [
  world.word,
  world.threadId,
  world.inboundId,
  world.outboundId,
  world.webhookId,
  world.handlerId,
  world.signalId,
  world.deliveryId,
  world.keyId,
];

function expectNothingOfA(answer: Answer) {
  const text = JSON.stringify(answer.body);
  for (const mark of marksOf(a)) expect(text).not.toContain(mark);
}

const nobody = (noun: Noun) => encodeId(noun, newId());
const NO_NUMBER = 2_000_000_000;

/** Asks as B for A's object and for one that never was; both answers must be the same, and say this. */
async function askBoth(query: string, foreign: object, never: object, expected: object) {
  const [theirs, nothing] = [await b.client.graphql(query, foreign), await b.client.graphql(query, never)];
  expect(theirs.body).toEqual(nothing.body);
  expect(theirs.status).toBe(nothing.status);
  expect(theirs.body).toMatchObject(expected);
  expectNothingOfA(theirs);
}

const reads = (field: string, type: string, foreign: (world: World) => unknown, never: unknown) => () =>
  askBoth(
    `query ($id: ${type}!) { ${field}(id: $id) { __typename } }`,
    { id: foreign(a) },
    { id: never },
    { data: { [field]: null } },
  );

const NOT_FOUND = { errors: [{ extensions: { code: 'NOT_FOUND' } }], data: null };

/** A change by an `input` that names an object. */
const changes =
  (
    field: string,
    inputType: string,
    foreign: (world: World) => object,
    never: object,
    expected: object = NOT_FOUND,
  ) =>
  () =>
    askBoth(
      `mutation ($input: ${inputType}!) { ${field}(input: $input) { __typename } }`,
      { input: foreign(a) },
      { input: never },
      expected,
    );

/** A list of B's, whatever it is filtered by, holds only what is B's; and A's cursors are not for it. */
const lists =
  (field: string, filters: (world: World) => string[], own: (world: World) => unknown) => async () => {
    const selection = field === 'webhooks' || field === 'apiKeys' ? 'id' : 'id __typename';
    const ask = (client: Client, args: string) =>
      client.graphql(`{ ${field}${args} { edges { cursor node { ${selection} } } } }`);
    const mine = await ask(b.client, '');
    const ids = mine.body.data[field].edges.map(({ node }: { node: { id: unknown } }) => node.id);
    expect(ids).toContain(own(b));
    expect(ids).not.toContain(own(a));
    for (const filter of filters(a)) {
      const { body } = await ask(b.client, `(${filter})`);
      expect(body).toEqual({ data: { [field]: { edges: [] } }, extensions: { cost: expect.anything() } });
    }
    const theirs = await ask(a.client, '');
    for (const { cursor } of theirs.body.data[field].edges) {
      for (const argument of ['after', 'before']) {
        const { body } = await ask(b.client, `(${argument}: "${cursor}")`);
        expect(body).toMatchObject({
          errors: [{ extensions: { code: 'BAD_USER_INPUT', details: [{ field: argument }] } }],
        });
      }
    }
  };

/** What B makes is B's, and cannot be hung on what is A's. */
const makes =
  (field: string, inputType: string, input: (world: World) => object, selection: string) => async () => {
    const { body } = await b.client.graphql(
      `mutation ($input: ${inputType}!) { ${field}(input: $input) { ${selection} } }`,
      { input: input(a) },
    );
    expect(body.errors).toBeUndefined();
    expect(JSON.stringify(await everythingOf(b)).length).toBeGreaterThan(0);
  };

/** Subscribes as B to what is A's, lets both tenants' events flow, and expects none of A's. */
async function followForeign(query: string, variables: object, make: (world: World) => Promise<unknown>) {
  const foreign = await subscribe(connect(app.url, b.client.apiKey), query, variables);
  const own = await subscribe(connect(app.url, b.client.apiKey), query, {});
  await subscribed(own, () => make(b));
  await make(a);
  const { length } = own.events;
  await make(b);
  await own.waitFor(length + 1);
  expect(foreign.errors).toEqual([]);
  expect(foreign.events).toEqual([]);
  for (const event of own.events) expectNothingOfA({ body: event } as Answer);
}

/** A subscription begins some time after its connection: this makes events until the first one comes. */
async function subscribed(subscriber: { events: unknown[] }, make: () => Promise<unknown>) {
  await eventually(async () => {
    if (subscriber.events.length === 0) await make();
    return subscriber.events.length > 0;
  });
}

const send = ({ client, workflowId, participantId, channel }: World) =>
  client.rest('POST', '/inbound', { workflowId, participantId, channel, channelKey: 'k', content: {} });

const sendAndRead = async (world: World) => {
  const { body } = await send(world);
  await world.client.rest('PUT', `/messages/${body.messageId}/status`, { status: 'read' });
};

const describeThread = ({ client, threadId }: World) =>
  client.rest('PUT', `/threads/${threadId}`, { metadata: { at: newId() } });

const reconnect = ({ client, conversationId }: World) =>
  client.data(
    'mutation ($id: Int!, $data: JSONObject!) { connectToWorkflowConversation(id: $id, connectionData: $data) { __typename } }',
    { id: conversationId, data: { at: newId() } },
  );

async function refusesCursorOfA(query: string) {
  const { eventCursor } = await a.client.data('{ eventCursor }');
  const subscriber = await subscribe(connect(app.url, b.client.apiKey), query, { after: eventCursor });
  expect(await subscriber.waitFor(1)).toMatchObject([
    { errors: [{ extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'after' }] } }] },
  ]);
}

/** Everything that GraphQL offers, and how it keeps tenants apart. */
const fields: Record<string, () => Promise<unknown>> = {
  'Query.viewer': async () => {
    const { viewer } = await b.client.data('{ viewer { tenantId } }');
    expect(viewer.tenantId).toBe(b.word);
  },
  'Query.node': async () => {
    const ids: [Noun, string][] = [
      ['thread', a.threadId],
      ['message', a.inboundId],
      ['webhook', a.webhookId],
      ['delivery', a.deliveryId],
      ['signal', a.signalId],
      ['handler', a.handlerId],
      ['key', a.keyId],
    ];
    for (const [noun, id] of ids) await reads('node', 'ID', () => id, nobody(noun))();
  },
  'Query.thread': reads('thread', 'ID', ({ threadId }) => threadId, nobody('thread')),
  'Query.message': reads('message', 'ID', ({ inboundId }) => inboundId, nobody('message')),
  'Query.webhook': reads('webhook', 'ID', ({ webhookId }) => webhookId, nobody('webhook')),
  'Query.delivery': reads('delivery', 'ID', ({ deliveryId }) => deliveryId, nobody('delivery')),
  'Query.workflowConversation': reads(
    'workflowConversation',
    'Int',
    (world) => world.conversationId,
    NO_NUMBER,
  ),
  'Query.agentProduct': reads('agentProduct', 'Int', ({ productId }) => productId, NO_NUMBER),
  'Query.agentProductRun': reads('agentProductRun', 'Int', ({ runId }) => runId, NO_NUMBER),
  'Query.threads': lists(
    'threads',
    ({ workflowId, participantId, channel }) => [
      `filter: {workflowId: "${workflowId}"}`,
      `filter: {participantId: "${participantId}"}`,
      `filter: {channel: "${channel}"}`,
    ],
    ({ threadId }) => threadId,
  ),
  'Query.webhooks': lists(
    'webhooks',
    () => [],
    ({ webhookId }) => webhookId,
  ),
  'Query.workflowHandlers': lists(
    'workflowHandlers',
    () => [],
    ({ handlerId }) => handlerId,
  ),
  'Query.signals': lists(
    'signals',
    ({ workflowId, threadId }) => [
      `filter: {workflowId: "${workflowId}"}`,
      `filter: {threadId: "${threadId}"}`,
      `filter: {threadId: "${threadId}", status: PENDING}`,
    ],
    ({ signalId }) => signalId,
  ),
  'Query.apiKeys': lists(
    'apiKeys',
    () => [],
    ({ keyId }) => keyId,
  ),
  'Query.workflowConversations': lists(
    'workflowConversations',
    ({ productId }) => [
      `agentProductId: ${productId}`,
      `agentProductId: ${productId}, userId: 7, running: true`,
    ],
    ({ conversationId }) => conversationId,
  ),
  'Query.agentProducts': lists(
    'agentProducts',
    () => [],
    ({ productId }) => productId,
  ),
  'Query.searchMessages': async () => {
    const ask = (client: Client, variables: object) =>
      client.graphql(
        `query ($query: String!, $workflowId: String, $after: String) {
          searchMessages(query: $query, workflowId: $workflowId, after: $after) { edges { cursor node { id content thread { id } } } }
        }`,
        variables,
      );
    const mine = await ask(a.client, { query: a.word });
    expect(mine.body.data.searchMessages.edges.length).toBeGreaterThan(0);
    const { workflowId } = a;
    // The words of a tenant's name are found, but not another tenant's messages; nor are these by what they lack.
    for (const variables of [
      { query: a.word },
      { query: a.word, workflowId },
      { query: '-nobody', workflowId },
    ]) {
      const { body } = await ask(b.client, variables);
      expect(body).toEqual({
        data: { searchMessages: { edges: [] } },
        extensions: { cost: expect.anything() },
      });
    }
    expectNothingOfA(await ask(b.client, { query: `-${b.word}` }));
    const after = mine.body.data.searchMessages.edges[0].cursor;
    expect((await ask(b.client, { query: a.word, after })).body).toMatchObject({
      errors: [{ extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'after' }] } }],
    });
  },
  'Query.events': async () => {
    const ask = (variables: object) =>
      b.client.graphql(
        `query ($after: String, $filter: EventFilter) {
          events(after: $after, filter: $filter, first: 100) {
            events { threadId messageId workflowConversationId thread { id } message { id } workflowConversation { id } data }
            hasMore
          }
        }`,
        variables,
      );
    const all = await ask({});
    expect(all.body.data.events.events.length).toBeGreaterThan(5);
    expectNothingOfA(all);
    for (const filter of [{ threadId: a.threadId }, { workflowId: a.workflowId }]) {
      expect((await ask({ filter })).body.data).toEqual({ events: { events: [], hasMore: false } });
    }
    const { eventCursor } = await a.client.data('{ eventCursor }');
    expect((await ask({ after: eventCursor })).body).toMatchObject({
      errors: [{ extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'after' }] } }],
    });
  },
  'Query.eventCursor': async () => {
    const first = await b.client.data('{ eventCursor }');
    await send(a);
    expect(await b.client.data('{ eventCursor }')).toEqual(first);
  },

  'Mutation.receiveInboundMessage': async () => {
    const { workflowId, participantId, channel, threadId } = a;
    const { body } = await b.client.graphql(
      `mutation ($input: ReceiveInboundMessageInput!) {
        receiveInboundMessage(input: $input) { thread { id tenantId messageCount } }
      }`,
      { input: { workflowId, participantId, channel, channelKey: 'k', content: {} } },
    );
    const { thread } = body.data.receiveInboundMessage;
    expect(thread).toMatchObject({ tenantId: b.word, messageCount: 1 });
    expect(thread.id).not.toBe(threadId);
  },
  'Mutation.sendOutboundMessage': async () => {
    const content = {};
    const named = { channel: 'x', channelKey: 'k', content };
    await changes(
      'sendOutboundMessage',
      'SendOutboundMessageInput',
      ({ threadId }) => ({ threadId, ...named }),
      { threadId: nobody('thread'), ...named },
    )();
    await changes(
      'sendOutboundMessage',
      'SendOutboundMessageInput',
      ({ threadId }) => ({ threadId, content }),
      { threadId: nobody('thread'), content },
    )();
    const { workflowId, participantId } = a;
    await changes(
      'sendOutboundMessage',
      'SendOutboundMessageInput',
      () => ({ workflowId, participantId, content }),
      { workflowId: 'nobody', participantId: 'nobody', content },
      { errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] },
    )();
  },
  'Mutation.updateMessageStatus': changes(
    'updateMessageStatus',
    'UpdateMessageStatusInput',
    ({ inboundId }) => ({ messageId: inboundId, status: 'READ' }),
    { messageId: nobody('message'), status: 'READ' },
  ),
  'Mutation.updateThread': changes(
    'updateThread',
    'UpdateThreadInput',
    ({ threadId }) => ({ id: threadId, status: 'CLOSED' }),
    { id: nobody('thread'), status: 'CLOSED' },
  ),
  'Mutation.archiveThread': changes(
    'archiveThread',
    'ArchiveThreadInput',
    ({ threadId }) => ({ id: threadId }),
    {
      id: nobody('thread'),
    },
  ),
  'Mutation.markThreadRead': async () => {
    await changes(
      'markThreadRead',
      'MarkThreadReadInput',
      ({ threadId }) => ({ id: threadId, position: 1 }),
      { id: nobody('thread'), position: 1 },
    )();
    // A user's number says nothing about the tenant.
    const asUser = async ({ client, word }: World) => {
      const { createApiKey } = await client.data(
        'mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }',
        { input: { name: 'user', scopes: ['conversations:read', 'conversations:write'], userId: 7 } },
      );
      return app.client(createApiKey.secret, word);
    };
    const unread = 'query ($id: ID!) { thread(id: $id) { unreadCount messageCount } }';
    const [theirs, mine] = [await asUser(a), await asUser(b)];
    before = await everythingOf(a);
    await mine.data('mutation ($id: ID!) { markThreadRead(input: {id: $id, position: 1}) { __typename } }', {
      id: b.threadId,
    });
    const { thread } = await theirs.data(unread, { id: a.threadId });
    expect(thread.unreadCount).toBe(thread.messageCount);
  },
  'Mutation.deleteThread': changes(
    'deleteThread',
    'DeleteThreadInput',
    ({ threadId }) => ({ id: threadId }),
    {
      id: nobody('thread'),
    },
  ),
  'Mutation.registerWebhook': makes(
    'registerWebhook',
    'RegisterWebhookInput',
    () => ({ url: NOWHERE, events: ['thread.deleted'] }),
    'webhook { id }',
  ),
  'Mutation.updateWebhook': changes(
    'updateWebhook',
    'UpdateWebhookInput',
    ({ webhookId }) => ({ id: webhookId, url: 'http://127.0.0.1:9/stolen' }),
    { id: nobody('webhook'), url: 'http://127.0.0.1:9/stolen' },
  ),
  'Mutation.pauseWebhook': changes('pauseWebhook', 'IdInput', ({ webhookId }) => ({ id: webhookId }), {
    id: nobody('webhook'),
  }),
  'Mutation.resumeWebhook': changes('resumeWebhook', 'IdInput', ({ webhookId }) => ({ id: webhookId }), {
    id: nobody('webhook'),
  }),
  'Mutation.rotateWebhookSecret': changes(
    'rotateWebhookSecret',
    'RotateWebhookSecretInput',
    ({ webhookId }) => ({ id: webhookId }),
    { id: nobody('webhook') },
  ),
  'Mutation.sendTestWebhook': changes('sendTestWebhook', 'IdInput', ({ webhookId }) => ({ id: webhookId }), {
    id: nobody('webhook'),
  }),
  'Mutation.recoverWebhook': changes(
    'recoverWebhook',
    'RecoverWebhookInput',
    ({ webhookId }) => ({ id: webhookId, since: '2026-01-01T00:00:00Z' }),
    { id: nobody('webhook'), since: '2026-01-01T00:00:00Z' },
  ),
  'Mutation.retryDelivery': changes('retryDelivery', 'IdInput', ({ deliveryId }) => ({ id: deliveryId }), {
    id: nobody('delivery'),
  }),
  'Mutation.deleteWebhook': changes('deleteWebhook', 'IdInput', ({ webhookId }) => ({ id: webhookId }), {
    id: nobody('webhook'),
  }),
  'Mutation.registerWorkflowHandler': makes(
    'registerWorkflowHandler',
    'RegisterWorkflowHandlerInput',
    // The handler of A's workflow, to cancel what A has pending.
    ({ workflowId }) => ({ workflowId, kind: 'HTTP', url: NOWHERE, deliverPending: false }),
    'workflowHandler { id }',
  ),
  'Mutation.deleteWorkflowHandler': changes(
    'deleteWorkflowHandler',
    'IdInput',
    ({ handlerId }) => ({ id: handlerId }),
    {
      id: nobody('handler'),
    },
  ),
  'Mutation.retrySignal': async () => {
    await database.query("UPDATE delivery SET status = 'failed' WHERE tenant_id = $1 AND kind = 'signal'", [
      a.word,
    ]);
    await changes('retrySignal', 'IdInput', ({ signalId }) => ({ id: signalId }), { id: nobody('signal') })();
  },
  'Mutation.createTenant': changes(
    'createTenant',
    'CreateTenantInput',
    ({ word }) => ({ id: word, name: 'x' }),
    { id: `t-${newId()}`, name: 'x' },
    { errors: [{ extensions: { code: 'FORBIDDEN' } }] },
  ),
  'Mutation.createApiKey': changes(
    'createApiKey',
    'CreateApiKeyInput',
    ({ word }) => ({ tenantId: word, name: 'x', scopes: ['admin'] }),
    { tenantId: 'never-existed', name: 'x', scopes: ['admin'] },
  ),
  'Mutation.revokeApiKey': async () => {
    await changes('revokeApiKey', 'IdInput', ({ keyId }) => ({ id: keyId }), { id: nobody('key') })();
    expect((await a.client.rest('GET', '/threads')).status).toBe(200);
  },
  'Mutation.createWorkflowConversation': () =>
    changes(
      'createWorkflowConversation',
      'CreateWorkflowConversationInput',
      ({ productId }) => ({ agentProductId: productId }),
      { agentProductId: NO_NUMBER },
      { errors: [{ extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'agentProductId' }] } }] },
    )(),
  'Mutation.updateWorkflowConversation': async () => {
    const query = `mutation ($id: Int!, $updates: UpdateWorkflowConversationInput!) {
      updateWorkflowConversation(id: $id, updates: $updates) { __typename }
    }`;
    const updates = { userId: 8 };
    await askBoth(query, { id: a.conversationId, updates }, { id: NO_NUMBER, updates }, NOT_FOUND);
    const id = b.conversationId;
    await askBoth(
      query,
      { id, updates: { agentProductId: a.productId } },
      { id, updates: { agentProductId: NO_NUMBER } },
      { errors: [{ extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'agentProductId' }] } }] },
    );
  },
  'Mutation.connectToWorkflowConversation': () =>
    askBoth(
      'mutation ($id: Int!) { connectToWorkflowConversation(id: $id, connectionData: {a: 1}) { __typename } }',
      { id: a.conversationId },
      { id: NO_NUMBER },
      NOT_FOUND,
    ),
  'Mutation.deleteWorkflowConversation': () =>
    askBoth(
      'mutation ($id: Int!) { deleteWorkflowConversation(id: $id) { deletedId } }',
      { id: a.conversationId },
      { id: NO_NUMBER },
      NOT_FOUND,
    ),
  'Mutation.createAgentProduct': makes(
    'createAgentProduct',
    'CreateAgentProductInput',
    ({ word }) => ({ name: `product-${word}` }),
    'agentProduct { id }',
  ),
  'Mutation.updateAgentProduct': changes(
    'updateAgentProduct',
    'UpdateAgentProductInput',
    ({ productId }) => ({ id: productId, name: 'stolen' }),
    { id: NO_NUMBER, name: 'stolen' },
  ),
  'Mutation.deleteAgentProduct': () =>
    askBoth(
      'mutation ($id: Int!) { deleteAgentProduct(id: $id) { deletedId } }',
      { id: a.productId },
      { id: NO_NUMBER },
      NOT_FOUND,
    ),
  'Mutation.createAgentProductRun': async () => {
    const refused = (field: string) => ({
      errors: [{ extensions: { code: 'BAD_USER_INPUT', details: [{ field }] } }],
    });
    await changes(
      'createAgentProductRun',
      'CreateAgentProductRunInput',
      ({ conversationId }) => ({ workflowConversationId: conversationId }),
      { workflowConversationId: NO_NUMBER },
      refused('workflowConversationId'),
    )();
    const workflowConversationId = b.conversationId;
    await changes(
      'createAgentProductRun',
      'CreateAgentProductRunInput',
      ({ productId }) => ({ workflowConversationId, agentProductId: productId }),
      { workflowConversationId, agentProductId: NO_NUMBER },
      refused('agentProductId'),
    )();
  },
  'Mutation.updateAgentProductRun': changes(
    'updateAgentProductRun',
    'UpdateAgentProductRunInput',
    ({ runId }) => ({ id: runId, expectedStatus: 'READY', status: 'RUNNING' }),
    { id: NO_NUMBER, expectedStatus: 'READY', status: 'RUNNING' },
  ),

  'Subscription.messageAdded': async () => {
    const query = `subscription ($threadId: ID, $workflowId: String, $participantId: String, $after: String) {
      messageAdded(threadId: $threadId, workflowId: $workflowId, participantId: $participantId, after: $after) {
        cursor message { id content thread { id tenantId } }
      }
    }`;
    const { threadId, workflowId, participantId } = a;
    for (const filter of [{ threadId }, { workflowId }, { participantId }, { threadId, after: 'start' }]) {
      await followForeign(query, filter, send);
    }
    await refusesCursorOfA(query);
    // Letting B's messages through is not what keeps A's out.
    before = undefined;
  },
  'Subscription.messageUpdated': async () => {
    const query = `subscription ($threadId: ID, $workflowId: String, $after: String) {
      messageUpdated(threadId: $threadId, workflowId: $workflowId, after: $after) { cursor message { id content } }
    }`;
    const { threadId, workflowId } = a;
    for (const filter of [{ threadId }, { workflowId }, { threadId, after: 'start' }]) {
      await followForeign(query, filter, sendAndRead);
    }
    await refusesCursorOfA(query);
    before = undefined;
  },
  'Subscription.threadUpdated': async () => {
    const query = `subscription ($threadId: ID, $workflowId: String, $after: String) {
      threadUpdated(threadId: $threadId, workflowId: $workflowId, after: $after) { cursor thread { id metadata } }
    }`;
    const { threadId, workflowId } = a;
    for (const filter of [{ threadId }, { workflowId }, { threadId, after: 'start' }]) {
      await followForeign(query, filter, describeThread);
    }
    await refusesCursorOfA(query);
    before = undefined;
  },
  'Subscription.events': async () => {
    const query = `subscription ($filter: EventFilter, $after: String) {
      events(filter: $filter, after: $after) {
        cursor threadId messageId thread { id workflowId } message { id content } workflowConversation { id configuration } data
      }
    }`;
    const { threadId, workflowId } = a;
    for (const filter of [{ threadId }, { workflowId }]) {
      await followForeign(query, { filter }, send);
      await followForeign(query, { filter, after: 'start' }, send);
    }
    await refusesCursorOfA(query);
    before = undefined;
  },
  'Subscription.workflowConversationUpdated': async () => {
    const query = `subscription ($id: Int, $after: String) {
      workflowConversationUpdated(id: $id, after: $after) { cursor workflowConversation { id configuration } }
    }`;
    await followForeign(query, { id: a.conversationId }, reconnect);
    await followForeign(query, { id: a.conversationId, after: 'start' }, reconnect);
    await refusesCursorOfA(query);
    before = undefined;
  },
};

describe('GraphQL', () => {
  it('has a row in the table of tenancy for each of its fields', () => {
    const schema = createSchema();
    const offered = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()].flatMap(
      (type) => Object.keys(type?.getFields() ?? {}).map((field) => `${type?.name}.${field}`),
    );
    expect(Object.keys(fields).sort()).toEqual(offered.sort());
  });

  it.each(Object.keys(fields))('keeps tenants apart in %s', async (field) => {
    await fields[field]?.();
    if (before !== undefined && !field.endsWith('eventCursor')) expect(await everythingOf(a)).toEqual(before);
  });

  it('refuses cursors of another tenant in nested lists', async () => {
    const messagesOf = (world: World, page: string) =>
      world.client.graphql(
        `{ thread(id: "${world.threadId}") { messages${page} { pageInfo { endCursor } } } }`,
      );
    const deliveriesOf = (world: World, page: string) =>
      world.client.graphql(
        `{ webhook(id: "${world.webhookId}") { deliveries${page} { pageInfo { endCursor } } } }`,
      );
    const runsOf = (world: World, page: string) =>
      world.client.graphql(
        `{ workflowConversation(id: ${world.conversationId}) { agentProductRuns${page} { pageInfo { endCursor } } } }`,
      );
    const threadsOf = (world: World, page: string) =>
      world.client.graphql(
        `{ workflowConversation(id: ${world.conversationId}) { threads${page} { pageInfo { endCursor } } } }`,
      );
    for (const list of [messagesOf, deliveriesOf, runsOf, threadsOf]) {
      const cursor = /"endCursor":"([^"]+)"/.exec(JSON.stringify((await list(a, '')).body))?.[1];
      expect(cursor).toBeTruthy();
      for (const page of [`(after: "${cursor}")`, `(before: "${cursor}")`]) {
        expect((await list(b, page)).body.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }]);
      }
    }
  });

  it("shows B's own things inside of B's things only", async () => {
    const { body } = await b.client.graphql(`{
      threads { edges { node { tenantId workflowConversation { id configuration } lastMessage { content } messages { edges { node {
        content thread { tenantId } logs { event } signal { workflowId message { id } } deliveries { webhook { id } thread { id } message { id } }
      } } } } } }
      webhooks { edges { node { deliveries { edges { node { thread { tenantId } message { content } } } } } } }
      signals { edges { node { workflowId message { content } } } }
      workflowConversations { edges { node { agentProduct { name } threads { edges { node { tenantId } } } agentProductRuns { edges { node { id } } } } } }
    }`);
    expect(body.errors).toBeUndefined();
    expect(JSON.stringify(body)).toContain(b.word);
    expectNothingOfA({ body } as Answer);
  });
});

/** Every REST route, and how it keeps tenants apart. */
const routes: Record<string, () => Promise<unknown>> = {
  'GET /threads': async () => {
    const { workflowId, participantId } = a;
    for (const query of [
      '',
      `?workflowId=${workflowId}`,
      `?participantId=${participantId}`,
      '?status=active',
    ]) {
      expectNothingOfA(await b.client.rest('GET', `/threads${query}`));
    }
    const { body } = await b.client.rest('GET', `/threads?workflowId=${workflowId}`);
    expect(body).toEqual({ threads: [], page: 1, pageSize: 20, hasMore: false });
  },
  'GET /threads/:threadId': () => asksBothByPath('GET', '/threads/', a.threadId, nobody('thread')),
  'GET /threads/:threadId/messages': async () => {
    const paths = [a.threadId, nobody('thread')].map((id) => `/threads/${id}/messages`);
    await asksBothByPath('GET', '', paths[0]!, paths[1]!);
  },
  'GET /messages/:messageId': () => asksBothByPath('GET', '/messages/', a.inboundId, nobody('message')),
  'PUT /messages/:messageId/status': async () => {
    const paths = [a.outboundId, nobody('message')].map((id) => `/messages/${id}/status`);
    await asksBothByPath('PUT', '', paths[0]!, paths[1]!, { status: 'read' });
  },
  'GET /attachments/:attachmentId': () =>
    asksBothByPath('GET', '/attachments/', a.attachmentId, nobody('attachment')),
  'GET /events': async () => {
    expectNothingOfA(await b.client.rest('GET', '/events?after=start'));
    for (const filter of [`threadId=${a.threadId}`, `workflowId=${a.workflowId}`]) {
      const { body } = await b.client.rest('GET', `/events?after=start&${filter}`);
      expect(body).not.toContain('data:');
    }
    const theirCursor = (await a.client.rest('GET', '/threads')).headers.get('x-event-cursor');
    expect((await b.client.rest('GET', `/events?after=${theirCursor}`)).status).toBe(400);
  },
  'PUT /threads/:threadId': () =>
    asksBothByPath('PUT', '/threads/', a.threadId, nobody('thread'), { status: 'closed' }),
  'DELETE /threads/:threadId': async () => {
    await asksBothByPath('DELETE', '/threads/', a.threadId, nobody('thread'));
    await asksBothByPath(
      'DELETE',
      '/threads/',
      `${a.threadId}?permanent=true`,
      `${nobody('thread')}?permanent=true`,
    );
  },
  'POST /inbound': async () => {
    const { workflowId, participantId } = a;
    const answer = await b.client.rest('POST', '/inbound', {
      workflowId,
      participantId,
      channel: 'x',
      channelKey: 'k',
      content: {},
    });
    expect(answer.body).toMatchObject({ position: 1 });
    expect(answer.body.threadId).not.toBe(a.threadId);
  },
  'POST /outbound': async () => {
    const more = { content: {}, channel: 'x', channelKey: 'k' };
    const theirs = await b.client.rest('POST', '/outbound', { threadId: a.threadId, ...more });
    const nothing = await b.client.rest('POST', '/outbound', { threadId: nobody('thread'), ...more });
    expect([theirs.status, theirs.body]).toEqual([404, nothing.body]);
  },
  'POST /outbound/webhook': async () => {
    const registered = await b.client.rest('POST', '/outbound/webhook', {
      url: NOWHERE,
      events: ['thread.deleted'],
    });
    expect((await a.client.rest('GET', `/outbound/webhook/${registered.body.id}`)).status).toBe(404);
  },
  'GET /outbound/webhook': async () => {
    const { body } = await b.client.rest('GET', '/outbound/webhook');
    expect(body.webhooks.map(({ id }: { id: string }) => id)).toEqual([b.webhookId]);
  },
  'GET /outbound/webhook/:id': () =>
    asksBothByPath('GET', '/outbound/webhook/', a.webhookId, nobody('webhook')),
  'DELETE /outbound/webhook/:id': () =>
    asksBothByPath('DELETE', '/outbound/webhook/', a.webhookId, nobody('webhook')),
};

async function asksBothByPath(method: string, path: string, foreign: string, never: string, body?: object) {
  const theirs = await b.client.rest(method, path + foreign, body);
  const nothing = await b.client.rest(method, path + never, body);
  expect([theirs.status, theirs.body]).toEqual([404, nothing.body]);
  const headersOf = ({ headers }: Answer) =>
    [...headers].filter(([name]) => !['date', 'x-request-id'].includes(name));
  expect(headersOf(theirs)).toEqual(headersOf(nothing));
  expectNothingOfA(theirs);
}

describe('REST', () => {
  it('has a row in the table of tenancy for each of its routes', () => {
    const offered = restRoutes.map(({ method, path }) => `${method} ${path.slice(REST.length)}`);
    expect(Object.keys(routes).sort()).toEqual(offered.sort());
  });

  it.each(Object.keys(routes))('keeps tenants apart at %s', async (route) => {
    await routes[route]?.();
    expect(await everythingOf(a)).toEqual(before);
  });
});

describe('tenants', () => {
  it('may use the same idempotency keys', async () => {
    const ask = (client: Client, text: string) =>
      client.rest(
        'POST',
        '/inbound',
        { workflowId: 'w', participantId: 'p', channel: 'x', channelKey: 'k', content: { text } },
        { 'idempotency-key': 'the same' },
      );
    const first = await ask(a.client, 'one');
    const second = await ask(b.client, 'two');
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(second.body.messageId).not.toBe(first.body.messageId);
    expect((await ask(a.client, 'one')).body).toEqual(first.body);
    expect((await ask(b.client, 'two')).body).toEqual(second.body);
  });

  it("do not get each other's signals and webhooks", async () => {
    const clients = await Promise.all([app.tenant(), app.tenant()]);
    const receivers = await Promise.all(
      clients.map(async (client) => {
        const receiver = await startReceiver();
        await client.rest('POST', '/outbound/webhook', {
          url: `${receiver.url}/webhook`,
          events: ['message.created', 'thread.created', 'thread.updated', 'thread.deleted'],
        });
        await client.data(
          'mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { secret } }',
          { input: { workflowId: '*', kind: 'HTTP', url: `${receiver.url}/signal` } },
        );
        return receiver;
      }),
    );
    const message = { workflowId: 'w', participantId: 'p', channel: 'x', channelKey: 'k', content: {} };
    for (const client of clients) {
      await client.rest('POST', '/inbound', message);
      await client.rest('POST', '/outbound', message);
    }
    // One signal, thread.created and message.created of the outbound message, each.
    for (const [index, receiver] of receivers.entries()) {
      const received = await receiver.waitFor(3);
      expect(received.map(({ body }) => body.tenantId)).toEqual(Array(3).fill(clients[index]?.tenantId));
    }
  });

  it('cannot be told from the errors that a key of another tenant gives', async () => {
    const attempt = (tenantId: string) =>
      b.client.graphql('mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }', {
        input: { tenantId, name: 'x', scopes: ['admin'] },
      });
    const answers = [await attempt(a.word), await attempt('default'), await attempt('never-existed')];
    for (const { body } of answers) expect(body).toEqual(answers[0]?.body);
    expect(answers[0]?.body).toMatchObject(NOT_FOUND);
  });
});

describe('Postgres itself', () => {
  const uuid = (noun: Noun, id: string) => decodeId(noun, id);

  it.each<[string, () => [string, unknown[]]]>([
    [
      'a message in a thread',
      () => [
        `INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content, created_at)
         VALUES ($1, gen_random_uuid(), $2, 99, 'inbound', 'x', 'k', '{}', now())`,
        [a.word, uuid('thread', b.threadId)],
      ],
    ],
    [
      'a log entry of a message',
      () => [
        "INSERT INTO conversation_message_log (tenant_id, message_id, timestamp, event) VALUES ($1, $2, now(), 'read')",
        [a.word, uuid('message', b.inboundId)],
      ],
    ],
    [
      'a channel of a thread',
      () => [
        "INSERT INTO conversation_thread_channel (tenant_id, thread_id, channel) VALUES ($1, $2, 'x')",
        [a.word, uuid('thread', b.threadId)],
      ],
    ],
    [
      'an idempotency key of a message',
      () => [
        "INSERT INTO idempotency_key (tenant_id, direction, key, input_hash, message_id) VALUES ($1, 'inbound', 'k', '', $2)",
        [a.word, uuid('message', b.inboundId)],
      ],
    ],
    [
      'a delivery to a webhook',
      () => [
        'UPDATE delivery SET webhook_id = $2 WHERE tenant_id = $1 AND webhook_id IS NOT NULL',
        [a.word, uuid('webhook', b.webhookId)],
      ],
    ],
    [
      'a delivery of a message',
      () => [
        'UPDATE delivery SET message_id = $2 WHERE tenant_id = $1',
        [a.word, uuid('message', b.inboundId)],
      ],
    ],
    [
      'an attempt of a delivery',
      () => [
        'INSERT INTO delivery_attempt (tenant_id, delivery_id, number, at, duration_ms) VALUES ($1, $2, 99, now(), 1)',
        [a.word, uuid('delivery', b.deliveryId)],
      ],
    ],
    [
      'a conversation with a product',
      () => [
        'UPDATE workflow_conversations SET agent_product_id = $2 WHERE tenant_id = $1',
        [a.word, b.productId],
      ],
    ],
    [
      'a run of a conversation',
      () => [
        'UPDATE agent_product_runs SET workflow_id = $2 WHERE tenant_id = $1',
        [a.word, b.conversationId],
      ],
    ],
    [
      'a run of a product',
      () => [
        'UPDATE agent_product_runs SET agent_product_id = $2 WHERE tenant_id = $1',
        [a.word, b.productId],
      ],
    ],
  ])('refuses %s of another tenant', async (_link, statement) => {
    const [text, values] = statement();
    await expect(database.query(text, values)).rejects.toMatchObject({ code: '23503' });
  });
});
