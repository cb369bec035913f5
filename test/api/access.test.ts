import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { Writable } from 'node:stream';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createApp } from '../../src/app.js';
import { parseConfig } from '../../src/config.js';
import { encodeId, newId } from '../../src/ids.js';
import { createSchema } from '../../src/resolvers/schema.js';
import { restRoutes } from '../../src/rest-compat/routes.js';
import {
  type Answer,
  allScopes,
  type Client,
  createClient,
  REST,
  startApp,
  type TestApp,
} from '../support/app.js';
import { createDatabase } from '../support/postgres.js';
import { openRawSocket } from '../support/raw-socket.js';
import { eventually, startReceiver } from '../support/receiver.js';
import { connect, subscribe } from '../support/subscriber.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const message = {
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'x',
  channelKey: 'k',
  content: { body: 'Hello' },
};
const NOWHERE = 'http://127.0.0.1:9/';

/** A further key of a tenant, with what its owner knows of it. */
async function makeKey(client: Client, input: object = {}) {
  const { createApiKey } = await client.data(
    `mutation ($input: CreateApiKeyInput!) {
      createApiKey(input: $input) { secret apiKey { id name scopes expiresAt revokedAt } }
    }`,
    { input: { name: 'further', scopes: allScopes, ...input } },
  );
  const { secret, apiKey } = createApiKey;
  return { id: apiKey.id as string, secret: secret as string, client: app.client(secret, client.tenantId) };
}

const revoke = (client: Client, id: string) =>
  client.data('mutation ($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { id revokedAt } } }', { id });

/** Sends a POST but for the end of its body. Answers with what sends that too, and gives the status. */
async function beginPost(url: string, secret: string, body: object): Promise<() => Promise<number>> {
  const bytes = Buffer.from(JSON.stringify(body));
  const sent = request(url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${secret}`,
      'content-type': 'application/json',
      'content-length': bytes.length,
      expect: '100-continue',
    },
  });
  sent.flushHeaders();
  await once(sent, 'continue');
  sent.write(bytes.subarray(0, -1));
  return async () => {
    sent.end(bytes.subarray(-1));
    const [response] = await once(sent, 'response');
    response.resume();
    return response.statusCode;
  };
}

const UNAUTHORIZED = { error: { code: 'unauthorized', message: 'A valid API key is required' } };

/** Every request that a key could be refused for, with headers of the test's own. */
async function expectUnauthenticated(headers: Record<string, string>) {
  for (const { method, path } of restRoutes) {
    const response = await fetch(app.url + path.replace(/:\w+/, encodeId('thread', newId())), {
      method,
      headers: { ...headers, ...(method !== 'GET' && { 'content-type': 'application/json' }) },
      // Nothing of a stranger's body is looked at.
      body: method === 'POST' || method === 'PUT' ? '{"malformed' : null,
    });
    expect([response.status, await response.json()]).toEqual([401, UNAUTHORIZED]);
  }
  for (const request of [
    { method: 'POST', body: JSON.stringify({ query: '{ viewer { tenantId } }' }) },
    { method: 'POST', body: '{"malformed' },
    { method: 'GET', search: '?query={viewer{tenantId}}' },
  ]) {
    const response = await fetch(`${app.url}/graphql${request.search ?? ''}`, {
      method: request.method,
      headers: { ...headers, 'content-type': 'application/json' },
      body: request.body ?? null,
    });
    const body = await response.json();
    expect(response.status).toBe(401);
    expect(body).toEqual({
      errors: [{ message: 'A valid API key is required', extensions: { code: 'UNAUTHENTICATED' } }],
    });
  }
}

const isAccepted = async (client: Client) => (await client.rest('GET', '/threads')).status === 200;

/** The code that a connection is closed with. */
function closeCode(parameters: object | undefined): Promise<number> {
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  socket.on('open', () =>
    socket.send(JSON.stringify({ type: 'connection_init', ...(parameters && { payload: parameters }) })),
  );
  return new Promise((resolve, reject) => {
    socket.on('close', resolve);
    socket.on('error', reject);
    socket.on('message', () => reject(new Error('The connection was accepted')));
  });
}

describe('a credential', () => {
  it.each<[string, Record<string, string>]>([
    ['is missing', {}],
    ['is empty', { authorization: '' }],
    ['is an empty bearer', { authorization: 'Bearer ' }],
    ['is unknown', { authorization: `Bearer parley_${'x'.repeat(43)}` }],
    ['is of another scheme', { authorization: 'Basic cGFybGV5OnBhcmxleQ==' }],
    ['is two words', { authorization: 'Bearer one two' }],
    ['is longer than any key', { authorization: `Bearer ${'x'.repeat(5_000)}` }],
    ['is an empty X-Api-Key', { 'x-api-key': '' }],
    ['is an unknown X-Api-Key', { 'x-api-key': 'nope' }],
  ])('that %s opens nothing: 401', async (_case, headers) => {
    await expectUnauthenticated(headers);
  });

  it('with a letter changed opens nothing', async () => {
    const { secret } = await makeKey(await app.tenant());
    for (const changed of [
      secret.toUpperCase(),
      secret.slice(0, -1),
      `${secret}x`,
      secret.replace('parley_', ''),
    ]) {
      await expectUnauthenticated({ authorization: `Bearer ${changed}` });
    }
  });

  it('opens as X-Api-Key what it opens as a bearer, whatever the capitals of the scheme', async () => {
    const { apiKey, tenantId } = await app.tenant();
    const spellings: Record<string, string>[] = [
      { 'x-api-key': apiKey },
      { authorization: `bearer ${apiKey}` },
      { authorization: `BEARER  ${apiKey}` },
    ];
    for (const headers of spellings) {
      const rest = await fetch(`${app.url}${REST}/threads`, { headers });
      expect(rest.status).toBe(200);
      const graphql = await fetch(`${app.url}/graphql`, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: JSON.stringify({ query: '{ viewer { tenantId } }' }),
      });
      expect(await graphql.json()).toEqual({
        data: { viewer: { tenantId } },
        extensions: { cost: expect.anything() },
      });
    }
  });

  it('is needed for paths that exist and for methods that they do not take', async () => {
    const response = await fetch(`${app.url}${REST}/inbound`, { method: 'GET' });
    expect(response.status).toBe(401);
  });

  it('is not needed for health', async () => {
    for (const path of ['/healthz', '/readyz']) expect((await fetch(app.url + path)).status).toBe(200);
  });

  it('that has expired opens nothing, also when it was just in use', async () => {
    const client = await app.tenant();
    const expiresAt = new Date(Date.now() + 1_500).toISOString();
    const key = await makeKey(client, { expiresAt });
    expect(await isAccepted(key.client)).toBe(true);
    await eventually(async () => {
      const accepted = await isAccepted(key.client);
      expect(accepted && Date.now() > Date.parse(expiresAt) + 500).toBe(false);
      return !accepted;
    });
    await expectUnauthenticated({ authorization: `Bearer ${key.secret}` });
    expect(await closeCode({ authorization: `Bearer ${key.secret}` })).toBe(4403);
  });

  it('that was revoked opens nothing within a few seconds, and others still do', async () => {
    const client = await app.tenant();
    const key = await makeKey(client);
    expect(await isAccepted(key.client)).toBe(true);
    const { revokeApiKey } = await revoke(client, key.id);
    expect(revokeApiKey.apiKey.revokedAt).toBeTruthy();
    await eventually(async () => !(await isAccepted(key.client)), { timeoutMs: 5_000 });
    await expectUnauthenticated({ authorization: `Bearer ${key.secret}` });
    expect(await closeCode({ authorization: `Bearer ${key.secret}` })).toBe(4403);
    expect(await isAccepted(client)).toBe(true);
    expect(await revoke(client, key.id)).toEqual({ revokeApiKey });
  });

  it('that was revoked while its request was coming gets nothing done', async () => {
    const owner = await app.tenant();
    const key = await makeKey(owner);
    expect(await isAccepted(key.client)).toBe(true);
    const createAnother = 'mutation { createApiKey(input: {name: "another", scopes: ["admin"]}) { secret } }';
    const requests = await Promise.all([
      beginPost(`${app.url}/graphql`, key.secret, { query: createAnother }),
      beginPost(`${app.url}${REST}/inbound`, key.secret, message),
    ]);
    await revoke(owner, key.id);
    await eventually(async () => !(await isAccepted(key.client)), { timeoutMs: 5_000 });
    for (const finish of requests) expect(await finish()).toBe(401);
    expect((await owner.rest('GET', '/threads')).body.threads).toEqual([]);
    const { apiKeys } = await owner.data('{ apiKeys(first: 100) { edges { node { name } } } }');
    expect(JSON.stringify(apiKeys)).not.toContain('another');
  });

  it('may revoke itself', async () => {
    const client = await app.tenant();
    const key = await makeKey(client);
    await revoke(key.client, key.id);
    await eventually(async () => !(await isAccepted(key.client)), { timeoutMs: 5_000 });
  });
});

describe('a WebSocket', () => {
  it.each<[string, object | undefined]>([
    ['without parameters', undefined],
    ['with empty parameters', {}],
    ['with an unknown key', { authorization: 'Bearer nope' }],
    ['with a key that is not called a bearer', { authorization: 'nope' }],
    ['with a key that is no text', { authorization: { bearer: true } }],
    ['with a list of keys', { authorization: ['Bearer nope'] }],
  ])('is closed with 4403 %s', async (_case, parameters) => {
    expect(await closeCode(parameters)).toBe(4403);
  });

  it('takes the parameter whatever its capitals', async () => {
    const { apiKey, tenantId } = await app.tenant();
    await expect(closeCode({ Authorization: `Bearer ${apiKey}` })).rejects.toThrow('accepted');
    const [answer] = await (await subscribe(connect(app.url, apiKey), '{ viewer { tenantId } }')).waitFor(1);
    expect(answer).toEqual({ data: { viewer: { tenantId } }, extensions: { cost: expect.anything() } });
  });

  it('is closed with 4403 once its key was revoked, and gets neither an operation done nor an event', async () => {
    const client = await app.tenant();
    const key = await makeKey(client);
    const socket = await openRawSocket(app.url);
    await socket.init(key.secret);
    socket.run('live', 'subscription { messageAdded(after: "start") { message { id } } }');
    await client.rest('POST', '/inbound', message);
    await eventually(() => socket.messages.length === 2);
    await revoke(client, key.id);
    await eventually(async () => !(await isAccepted(key.client)), { timeoutMs: 5_000 });
    await client.rest('POST', '/inbound', message);
    if (socket.socket.readyState === WebSocket.OPEN) socket.run('query', '{ viewer { tenantId } }');
    expect(await socket.closed).toBe(4403);
    expect(socket.messages).toHaveLength(2);
  });
});

const READ = 'conversations:read';
const WRITE = 'conversations:write';
const WEBHOOKS = 'webhooks:manage';
const WORKFLOWS = 'workflows:manage';
const ADMIN = 'admin';

/** A tenant with a thread, an inbound and an outbound message, a webhook and a handler. */
async function furnished() {
  const client = await app.tenant();
  const webhook = await client.rest('POST', '/outbound/webhook', {
    url: NOWHERE,
    events: ['message.created'],
  });
  const inbound = await client.rest('POST', '/inbound', message);
  const outbound = await client.rest('POST', '/outbound', message);
  const email = await client.rest('POST', '/inbound', {
    ...message,
    channel: 'email',
    content: { body: 'Hi', attachments: [{ filename: 'a', contentType: 'text/plain', data: 'QQ' }] },
  });
  const { body } = await client.rest('GET', `/messages/${email.body.messageId}`);
  return {
    client,
    attachmentId: body.content.attachments[0].id as string,
    threadId: inbound.body.threadId as string,
    messageId: inbound.body.messageId as string,
    outboundId: outbound.body.messageId as string,
    webhookId: webhook.body.id as string,
  };
}
type Furnished = Awaited<ReturnType<typeof furnished>>;

/** The scope of every route, and a request that succeeds with it. */
const routeScopes: Record<string, [scope: string, path: (given: Furnished) => string, body?: object]> = {
  'GET /threads': [READ, () => '/threads'],
  'GET /threads/:threadId': [READ, ({ threadId }) => `/threads/${threadId}`],
  'GET /threads/:threadId/messages': [READ, ({ threadId }) => `/threads/${threadId}/messages`],
  'GET /messages/:messageId': [READ, ({ messageId }) => `/messages/${messageId}`],
  'PUT /messages/:messageId/status': [
    WRITE,
    ({ messageId }) => `/messages/${messageId}/status`,
    { status: 'read' },
  ],
  'GET /attachments/:attachmentId': [READ, ({ attachmentId }) => `/attachments/${attachmentId}`],
  'GET /events': [READ, () => '/events'],
  'PUT /threads/:threadId': [WRITE, ({ threadId }) => `/threads/${threadId}`, { status: 'closed' }],
  'DELETE /threads/:threadId': [WRITE, ({ threadId }) => `/threads/${threadId}?permanent=true`],
  'POST /inbound': [WRITE, () => '/inbound', message],
  'POST /outbound': [WRITE, () => '/outbound', message],
  'POST /outbound/webhook': [
    WEBHOOKS,
    () => '/outbound/webhook',
    { url: NOWHERE, events: ['message.created'] },
  ],
  'GET /outbound/webhook': [WEBHOOKS, () => '/outbound/webhook'],
  'GET /outbound/webhook/:id': [WEBHOOKS, ({ webhookId }) => `/outbound/webhook/${webhookId}`],
  'DELETE /outbound/webhook/:id': [WEBHOOKS, ({ webhookId }) => `/outbound/webhook/${webhookId}`],
};

describe('a REST route', () => {
  it('has a row in the table of scopes, with the scope that the table of routes names', () => {
    const offered = restRoutes.map(({ method, path, scope }) => [
      `${method} ${path.slice(REST.length)}`,
      scope,
    ]);
    const tested = Object.entries(routeScopes).map(([route, [scope]]) => [route, scope]);
    expect(tested.sort()).toEqual(offered.sort());
  });

  it.each(Object.entries(routeScopes))(
    '%s needs its scope and no other',
    async (route, [scope, path, body]) => {
      const given = await furnished();
      const method = route.split(' ')[0]!;
      const without = await app.keyFor(
        given.client,
        allScopes.filter((other) => other !== scope),
      );
      const refused = await without.rest(method, path(given), body);
      expect([refused.status, refused.body]).toEqual([
        403,
        { error: { code: 'forbidden', message: `The API key lacks the scope ${scope}` } },
      ]);
      const only = await app.keyFor(given.client, [scope]);
      const granted = await only.rest(method, path(given), body);
      expect([granted.status, granted.body.error]).toEqual([200, undefined]);
    },
  );
});

/** The scope of every field of GraphQL; null: any key. */
const fieldScopes: Record<
  string,
  [scope: string | null, call: string, variables?: (given: Furnished) => object]
> = {
  'Query.viewer': [null, '{ viewer { tenantId } }'],
  'Query.node': [null, `{ node(id: "${encodeId('attachment', newId())}") { id } }`],
  'Query.thread': [READ, 'query ($threadId: ID!) { thread(id: $threadId) { id } }', (given) => given],
  'Query.threads': [READ, '{ threads { edges { cursor } } }'],
  'Query.message': [READ, 'query ($messageId: ID!) { message(id: $messageId) { id } }', (given) => given],
  'Query.searchMessages': [READ, '{ searchMessages(query: "Hello") { edges { cursor } } }'],
  'Query.eventCursor': [READ, '{ eventCursor }'],
  'Query.events': [READ, '{ events { nextCursor } }'],
  'Query.workflowConversation': [READ, '{ workflowConversation(id: 1) { id } }'],
  'Query.workflowConversations': [READ, '{ workflowConversations { edges { cursor } } }'],
  'Query.agentProduct': [READ, '{ agentProduct(id: 1) { id } }'],
  'Query.agentProducts': [READ, '{ agentProducts { edges { cursor } } }'],
  'Query.agentProductRun': [READ, '{ agentProductRun(id: 1) { id } }'],
  'Query.webhook': [WEBHOOKS, 'query ($webhookId: ID!) { webhook(id: $webhookId) { id } }', (given) => given],
  'Query.webhooks': [WEBHOOKS, '{ webhooks { edges { cursor } } }'],
  'Query.delivery': [WEBHOOKS, '{ delivery(id: "x") { id } }'],
  'Query.workflowHandlers': [WORKFLOWS, '{ workflowHandlers { edges { cursor } } }'],
  'Query.signals': [WORKFLOWS, '{ signals { edges { cursor } } }'],
  'Query.apiKeys': [ADMIN, '{ apiKeys { edges { cursor } } }'],
  'Mutation.receiveInboundMessage': [
    WRITE,
    'mutation ($message: ReceiveInboundMessageInput!) { receiveInboundMessage(input: $message) { message { id } } }',
    () => ({ message }),
  ],
  'Mutation.sendOutboundMessage': [
    WRITE,
    'mutation ($message: SendOutboundMessageInput!) { sendOutboundMessage(input: $message) { message { id } } }',
    () => ({ message }),
  ],
  'Mutation.updateMessageStatus': [
    WRITE,
    'mutation ($messageId: ID!) { updateMessageStatus(input: {messageId: $messageId, status: READ}) { message { id } } }',
    (given) => given,
  ],
  'Mutation.updateThread': [
    WRITE,
    'mutation ($threadId: ID!) { updateThread(input: {id: $threadId, status: CLOSED}) { thread { id } } }',
    (given) => given,
  ],
  'Mutation.archiveThread': [
    WRITE,
    'mutation ($threadId: ID!) { archiveThread(input: {id: $threadId}) { thread { id } } }',
    (given) => given,
  ],
  'Mutation.markThreadRead': [
    WRITE,
    'mutation ($threadId: ID!) { markThreadRead(input: {id: $threadId, position: 1}) { thread { unreadCount } } }',
    (given) => given,
  ],
  'Mutation.deleteThread': [
    WRITE,
    'mutation ($threadId: ID!) { deleteThread(input: {id: $threadId}) { deletedThreadId } }',
    (given) => given,
  ],
  'Mutation.createWorkflowConversation': [
    WRITE,
    'mutation { createWorkflowConversation(input: {agentProductId: 2000000000}) { __typename } }',
  ],
  'Mutation.updateWorkflowConversation': [
    WRITE,
    'mutation { updateWorkflowConversation(id: 2000000000, updates: {userId: 1}) { __typename } }',
  ],
  'Mutation.connectToWorkflowConversation': [
    WRITE,
    'mutation { connectToWorkflowConversation(id: 2000000000, connectionData: {a: 1}) { __typename } }',
  ],
  'Mutation.deleteWorkflowConversation': [
    WRITE,
    'mutation { deleteWorkflowConversation(id: 2000000000) { deletedId } }',
  ],
  'Mutation.createAgentProduct': [
    WRITE,
    'mutation { createAgentProduct(input: {name: "x"}) { agentProduct { id } } }',
  ],
  'Mutation.updateAgentProduct': [
    WRITE,
    'mutation { updateAgentProduct(input: {id: 2000000000, name: "x"}) { __typename } }',
  ],
  'Mutation.deleteAgentProduct': [WRITE, 'mutation { deleteAgentProduct(id: 2000000000) { deletedId } }'],
  'Mutation.createAgentProductRun': [
    WRITE,
    'mutation { createAgentProductRun(input: {workflowConversationId: 2000000000}) { __typename } }',
  ],
  'Mutation.updateAgentProductRun': [
    WRITE,
    'mutation { updateAgentProductRun(input: {id: 2000000000, expectedStatus: READY, status: RUNNING}) { __typename } }',
  ],
  'Mutation.registerWebhook': [
    WEBHOOKS,
    `mutation { registerWebhook(input: {url: "${NOWHERE}", events: ["thread.deleted"]}) { webhook { id } } }`,
  ],
  'Mutation.updateWebhook': [
    WEBHOOKS,
    'mutation ($webhookId: ID!) { updateWebhook(input: {id: $webhookId, description: "x"}) { webhook { id } } }',
    (given) => given,
  ],
  'Mutation.pauseWebhook': [
    WEBHOOKS,
    'mutation ($webhookId: ID!) { pauseWebhook(input: {id: $webhookId}) { __typename } }',
    (given) => given,
  ],
  'Mutation.resumeWebhook': [
    WEBHOOKS,
    'mutation ($webhookId: ID!) { resumeWebhook(input: {id: $webhookId}) { __typename } }',
    (given) => given,
  ],
  'Mutation.rotateWebhookSecret': [
    WEBHOOKS,
    'mutation ($webhookId: ID!) { rotateWebhookSecret(input: {id: $webhookId}) { __typename } }',
    (given) => given,
  ],
  'Mutation.sendTestWebhook': [
    WEBHOOKS,
    'mutation ($webhookId: ID!) { sendTestWebhook(input: {id: $webhookId}) { __typename } }',
    (given) => given,
  ],
  'Mutation.recoverWebhook': [
    WEBHOOKS,
    'mutation ($webhookId: ID!) { recoverWebhook(input: {id: $webhookId, since: "2026-01-01T00:00:00Z"}) { __typename } }',
    (given) => given,
  ],
  'Mutation.retryDelivery': [
    WEBHOOKS,
    `mutation { retryDelivery(input: {id: "${encodeId('delivery', newId())}"}) { __typename } }`,
  ],
  'Mutation.deleteWebhook': [
    WEBHOOKS,
    'mutation ($webhookId: ID!) { deleteWebhook(input: {id: $webhookId}) { deletedId } }',
    (given) => given,
  ],
  'Mutation.registerWorkflowHandler': [
    WORKFLOWS,
    `mutation { registerWorkflowHandler(input: {workflowId: "w", kind: HTTP, url: "${NOWHERE}"}) { __typename } }`,
  ],
  'Mutation.deleteWorkflowHandler': [
    WORKFLOWS,
    'mutation { deleteWorkflowHandler(input: {id: "x"}) { deletedId } }',
  ],
  'Mutation.retrySignal': [WORKFLOWS, 'mutation { retrySignal(input: {id: "x"}) { __typename } }'],
  'Mutation.createTenant': [
    ADMIN,
    'mutation { createTenant(input: {id: "a-new-one", name: "x"}) { __typename } }',
  ],
  'Mutation.createApiKey': [
    ADMIN,
    `mutation { createApiKey(input: {name: "x", scopes: ["${READ}"]}) { apiKey { id } } }`,
  ],
  'Mutation.revokeApiKey': [ADMIN, 'mutation { revokeApiKey(input: {id: "x"}) { __typename } }'],
  'Subscription.messageAdded': [READ, 'subscription { messageAdded(after: "start") { cursor } }'],
  'Subscription.messageUpdated': [READ, 'subscription { messageUpdated(after: "start") { cursor } }'],
  'Subscription.threadUpdated': [READ, 'subscription { threadUpdated(after: "start") { cursor } }'],
  'Subscription.events': [READ, 'subscription { events(after: "start") { cursor } }'],
  'Subscription.workflowConversationUpdated': [
    READ,
    'subscription { workflowConversationUpdated(after: "start") { cursor } }',
  ],
};

const lacks = (scope: string) => ({
  message: `The API key lacks the scope ${scope}`,
  extensions: { code: 'FORBIDDEN' },
});

describe('a GraphQL field', () => {
  it('has a row in the table of scopes', () => {
    const schema = createSchema();
    const offered = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()].flatMap(
      (type) => Object.keys(type?.getFields() ?? {}).map((field) => `${type?.name}.${field}`),
    );
    expect(Object.keys(fieldScopes).sort()).toEqual(offered.sort());
  });

  it.each(Object.entries(fieldScopes).filter(([name]) => !name.startsWith('Subscription')))(
    '%s needs its scope and no other',
    async (_name, [scope, call, variables]) => {
      const given = await furnished();
      const { client: _, ...ids } = given;
      const values = variables ? pickUsed(call, { ...ids, ...variables(given) }) : {};
      const without = await app.keyFor(
        given.client,
        allScopes.filter((other) => other !== scope),
      );
      const refused = await without.graphql(call, values);
      if (scope) expect(refused.body.errors).toMatchObject([lacks(scope)]);
      else expect(refused.body.errors).toBeUndefined();
      const only = await app.keyFor(given.client, [scope ?? READ]);
      const granted = await only.graphql(call, values);
      const codes = (granted.body.errors ?? []).map(
        ({ extensions }: { extensions: { code: string } }) => extensions.code,
      );
      // What the table asks for need not exist; and only operators make tenants.
      if (!call.includes('createTenant')) expect(codes).not.toContain('FORBIDDEN');
      expect(codes).not.toContain('INTERNAL_SERVER_ERROR');
    },
  );

  it.each(Object.entries(fieldScopes).filter(([name]) => name.startsWith('Subscription')))(
    '%s needs its scope',
    async (_name, [scope, call]) => {
      const { client } = await furnished();
      const without = await app.keyFor(
        client,
        allScopes.filter((other) => other !== scope),
      );
      const refused = await subscribe(connect(app.url, without.apiKey), call);
      expect(await refused.waitFor(1)).toMatchObject([{ errors: [lacks(scope ?? '')] }]);
    },
  );

  const pickUsed = (call: string, values: object) =>
    Object.fromEntries(Object.entries(values).filter(([name]) => call.includes(`$${name}:`)));

  it('node needs the scope of what it finds', async () => {
    const given = await furnished();
    const all: [string, string][] = [
      [given.threadId, READ],
      [given.messageId, READ],
      [given.webhookId, WEBHOOKS],
      [encodeId('delivery', newId()), WEBHOOKS],
      [encodeId('signal', newId()), WORKFLOWS],
      [encodeId('handler', newId()), WORKFLOWS],
      [encodeId('key', newId()), ADMIN],
    ];
    for (const [id, scope] of all) {
      const without = await app.keyFor(
        given.client,
        allScopes.filter((other) => other !== scope),
      );
      const { body } = await without.graphql('query ($id: ID!) { node(id: $id) { id } }', { id });
      expect(body).toMatchObject({ data: { node: null }, errors: [lacks(scope)] });
    }
  });

  it('that is refused leaves the rest of the answer standing', async () => {
    const given = await furnished();
    const reader = await app.keyFor(given.client, [READ]);
    const { status, body } = await reader.graphql(
      `query ($threadId: ID!, $messageId: ID!, $webhookId: ID!) {
        viewer { tenantId }
        thread(id: $threadId) { id }
        message(id: $messageId) { id content signal { id } }
        webhook(id: $webhookId) { id }
      }`,
      given,
    );
    expect(status).toBe(200);
    expect(body.data).toEqual({
      viewer: { tenantId: given.client.tenantId },
      thread: { id: given.threadId },
      message: { id: given.messageId, content: message.content, signal: null },
      webhook: null,
    });
    expect(
      body.errors
        .map(({ path, extensions }: { path: string[]; extensions: { code: string } }) => [
          path.join('.'),
          extensions.code,
        ])
        .sort(),
    ).toEqual([
      ['message.signal', 'FORBIDDEN'],
      ['webhook', 'FORBIDDEN'],
    ]);
  });

  it('inside of another needs its own scope', async () => {
    const given = await furnished();
    await eventually(async () => {
      const { message } = await given.client.data(
        'query ($id: ID!) { message(id: $id) { deliveries { id } } }',
        { id: given.outboundId },
      );
      return message.deliveries.length === 1;
    });
    const expectForbidden = async (scope: string, lacking: string, query: string, variables: object) => {
      const { body } = await (await app.keyFor(given.client, [scope])).graphql(query, variables);
      expect(body.errors).toMatchObject([lacks(lacking)]);
    };
    const { threadId, messageId, webhookId } = given;
    await expectForbidden(
      READ,
      WEBHOOKS,
      'query ($messageId: ID!) { message(id: $messageId) { deliveries { id } } }',
      { messageId },
    );
    await expectForbidden(
      READ,
      WORKFLOWS,
      'query ($messageId: ID!) { message(id: $messageId) { signal { id } } }',
      { messageId },
    );
    await expectForbidden(
      WEBHOOKS,
      READ,
      'query ($webhookId: ID!) { webhook(id: $webhookId) { deliveries { edges { node { message { id } } } } } }',
      { webhookId },
    );
    await expectForbidden(
      WEBHOOKS,
      READ,
      'query ($webhookId: ID!) { webhook(id: $webhookId) { deliveries { edges { node { thread { id } } } } } }',
      { webhookId },
    );
    await expectForbidden(WORKFLOWS, READ, '{ signals(first: 1) { edges { node { message { id } } } } }', {});
    const archive = (selection: string) =>
      `mutation ($threadId: ID!) { archiveThread(input: {id: $threadId}) { thread { ${selection} } } }`;
    await expectForbidden(WRITE, READ, archive('messages { edges { cursor } }'), { threadId });
    await expectForbidden(WRITE, READ, archive('lastMessage { content }'), { threadId });
  });
});

describe('an administrator', () => {
  it('makes and ends keys of the own tenant, and lists them without secrets', async () => {
    const client = await app.tenant();
    const key = await makeKey(client, { name: 'for tests', scopes: [READ, READ, WRITE], userId: 42 });
    expect((await key.client.data('{ viewer { tenantId userId scopes } }')).viewer).toEqual({
      tenantId: client.tenantId,
      userId: 42,
      scopes: [READ, WRITE],
    });
    const { apiKeys } = await client.data(
      '{ apiKeys { edges { node { id name scopes userId lastUsedAt } } } }',
    );
    expect(apiKeys.edges[0].node).toEqual({
      id: key.id,
      name: 'for tests',
      scopes: [READ, WRITE],
      userId: 42,
      lastUsedAt: expect.stringMatching(/Z$/),
    });
    expect(JSON.stringify(apiKeys)).not.toContain(key.secret);
  });

  it('of the bootstrap tenant makes tenants and their keys; a taken id is a conflict', async () => {
    const id = `made-${randomBytes(6).toString('hex')}`;
    const make = () =>
      app.operator.graphql(
        'mutation ($id: String!) { createTenant(input: {id: $id, name: "x"}) { tenant { id } } }',
        { id },
      );
    const made = { createTenant: { tenant: { id } } };
    expect((await make()).body).toEqual({ data: made, extensions: { cost: expect.anything() } });
    expect((await make()).body.errors).toMatchObject([{ extensions: { code: 'CONFLICT' } }]);
  });

  it('of the bootstrap tenant without the scope is no operator', async () => {
    const key = await makeKey(app.operator, { scopes: allScopes.filter((scope) => scope !== ADMIN) });
    const { body } = await key.client.graphql(
      'mutation { createTenant(input: {id: "x", name: "x"}) { tenant { id } } }',
    );
    expect(body.errors).toMatchObject([lacks(ADMIN)]);
  });
});

describe('secrets', () => {
  /** A Parley that logs everything there is to log into a text. */
  async function startLogging() {
    const database = await createDatabase();
    let logged = '';
    const log = pino(
      { level: 'trace' },
      new Writable({
        write(chunk, _encoding, done) {
          logged += chunk;
          done();
        },
      }),
    );
    const apiKey = `parley_${randomBytes(24).toString('hex')}`;
    const secretsKey = randomBytes(32).toString('base64');
    const running = await createApp(
      parseConfig({
        DATABASE_URL: database.connectionString,
        SECRETS_KEY: secretsKey,
        BOOTSTRAP_API_KEY: apiKey,
        ALLOWED_TARGET_CIDRS: '127.0.0.0/8',
        SIGNAL_RETRY_SCHEDULE_SECONDS: '0',
        PORT: '0',
        LOG_LEVEL: 'trace',
      }),
      log,
    );
    return {
      client: createClient(running.url, apiKey),
      apiKey,
      secretsKey,
      url: running.url,
      database,
      logged: () => logged,
      close: async () => {
        await running.close();
        await database.drop();
      },
    };
  }

  it('of keys, webhooks and handlers are shown once, stored in no clear form, and never logged', async () => {
    const parley = await startLogging();
    try {
      const receiver = await startReceiver((_, response) => void response.writeHead(500).end());
      const { client } = parley;
      const own = (name: string) => `${name}-${randomBytes(12).toString('hex')}`;
      const [ownSecret, ownHandlerSecret] = [own('webhook'), own('handler')];
      const headerValue = own('header');
      const shown: Answer[] = [
        await client.graphql(
          `mutation { createApiKey(input: {name: "x", scopes: ["${READ}"]}) { secret apiKey { id } } }`,
        ),
        await client.rest('POST', '/outbound/webhook', { url: receiver.url, events: ['message.created'] }),
        await client.graphql(
          `mutation { registerWebhook(input: {url: "${receiver.url}", events: ["message.created"]}) { secret webhook { id } } }`,
        ),
        await client.graphql(
          `mutation { registerWorkflowHandler(input: {workflowId: "a", kind: HTTP, url: "${receiver.url}"}) { secret workflowHandler { id } } }`,
        ),
      ];
      const secrets = shown.map(({ body }) => /"secret":"([^"]+)"/.exec(JSON.stringify(body))?.[1] ?? '');
      expect(secrets.every((secret) => /^(parley_|whsec_).{30,}$/.test(secret))).toBe(true);

      // A secret that the caller chose is shown to nobody, not even once.
      const quiet: Answer[] = [
        await client.rest('POST', '/outbound/webhook', {
          url: receiver.url,
          events: ['message.created'],
          secret: ownSecret,
          headers: { authorization: headerValue },
        }),
        await client.graphql(
          `mutation { registerWorkflowHandler(input: {workflowId: "workflow_1", kind: HTTP, url: "${receiver.url}", secret: "${ownHandlerSecret}"}) { secret workflowHandler { id } } }`,
        ),
      ];
      const all = [...secrets, ownSecret, ownHandlerSecret, parley.apiKey, parley.secretsKey];

      // Everything that could print them: failing deliveries, bad requests with credentials, every read.
      await client.rest('POST', '/inbound', message);
      await client.rest('POST', '/outbound', message);
      await receiver.waitFor(4);
      await createClient(parley.url, `${secrets[0]}x`).rest('GET', '/threads');
      await client.rest('POST', '/outbound/webhook', { url: 'nope', events: [], secret: ownSecret });
      await client.rest('GET', `/threads?key=${secrets[0]}&page=0`, undefined, { 'x-api-key': secrets[0]! });
      const socket = connect(parley.url, secrets[0]!);
      await (await subscribe(socket, '{ nope }')).errors;
      const webhookId = shown[1]!.body.id;
      quiet.push(
        await client.rest('GET', '/outbound/webhook'),
        await client.rest('GET', `/outbound/webhook/${webhookId}`),
        await client.graphql(
          '{ apiKeys { edges { node { id name scopes userId createdAt expiresAt revokedAt lastUsedAt } } } }',
        ),
        await client.graphql(
          '{ webhooks { edges { node { id url events description status disabledReason ordered ratePerSecond createdAt updatedAt } } } workflowHandlers { edges { node { id workflowId kind url createdAt updatedAt } } } signals { edges { node { id attempts { error responseBody } } } } }',
        ),
        await client.graphql(
          `mutation { updateWebhook(input: {id: "${webhookId}", description: "x"}) { secret webhook { id } } }`,
        ),
        await client.graphql('{ __schema { types { name fields { name } } } }'),
      );
      for (const { body } of quiet)
        for (const secret of all) expect(JSON.stringify(body)).not.toContain(secret);
      expect(quiet[4]!.body.errors).toBeUndefined();

      // What it is stored as: keys as hashes, secrets encrypted.
      const stored = await dump(parley.database.connectionString);
      const bytesOf = (secret: string) => [
        secret,
        Buffer.from(secret).toString('hex'),
        Buffer.from(secret.replace('whsec_', ''), 'base64').toString('hex'),
      ];
      for (const secret of all) for (const form of bytesOf(secret)) expect(stored).not.toContain(form);
      for (const secret of [...all, headerValue]) expect(parley.logged()).not.toContain(secret);
      expect(parley.logged()).toContain('delivery');
    } finally {
      await parley.close();
    }
  });

  /** The database as text. */
  async function dump(connectionString: string): Promise<string> {
    const client = new pg.Client(connectionString);
    await client.connect();
    try {
      const { rows: tables } = await client.query(
        "SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
      );
      const texts = await Promise.all(
        tables.map(({ name }) =>
          client.query(`SELECT coalesce(string_agg(t::text, E'\\n'), '') AS text FROM ${name} t`),
        ),
      );
      return texts.map(({ rows }) => rows[0].text).join('\n');
    } finally {
      await client.end();
    }
  }
});
