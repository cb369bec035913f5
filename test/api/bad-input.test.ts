import { request as httpRequest } from 'node:http';
import {
  type GraphQLField,
  type GraphQLInputType,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isLeafType,
} from 'graphql';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeId, newId } from '../../src/ids.js';
import { createSchema } from '../../src/resolvers/schema.js';
import { type Answer, type Client, REST, startApp, startAppForTest, type TestApp } from '../support/app.js';
import { connect } from '../support/subscriber.js';

const MAX_BODY_BYTES = 64 * 1024;
const HUGE = 1_000_000;

let app: TestApp;
let database: pg.Client;
beforeAll(async () => {
  app = await startApp({ maxBodyBytes: MAX_BODY_BYTES });
  database = new pg.Client(app.databaseUrl);
  await database.connect();
});
afterAll(async () => {
  await database.end();
  await app.close();
});

const TABLES = [
  'tenant',
  'tenant_counter',
  'event',
  'conversation_thread',
  'conversation_thread_channel',
  'conversation_message',
  'conversation_message_log',
  'idempotency_key',
  'webhook',
  'workflow_handler',
  'api_key',
  'workflow_conversations',
  'agent_products',
  'agent_product_runs',
];

/** Everything that a tenant (and the list of tenants) has in the database, but for when a key was last used. */
async function everythingOf({ tenantId }: Client): Promise<unknown> {
  const rows: Record<string, unknown> = {};
  for (const table of TABLES) {
    const where = table === 'tenant' ? 'true' : `tenant_id = '${tenantId}'`;
    const { rows: found } = await database.query(
      `SELECT to_jsonb(t) - 'last_used_at' AS row FROM ${table} t WHERE ${where} ORDER BY 1`,
    );
    // Other tests make tenants meanwhile; what matters is that this one is none of theirs.
    rows[table] = table === 'tenant' ? found.filter(({ row }) => !/^t-[0-9a-f]{16}$/.test(row.id)) : found;
  }
  return rows;
}

/** A tenant with a thread, a message, a webhook and a handler that bad input could harm. */
async function furnished() {
  const client = await app.tenant();
  const stored = await client.rest('POST', '/inbound', { ...inbound, participantId: 'furniture' });
  expect(stored.status).toBe(200);
  const webhook = await client.rest('POST', '/outbound/webhook', webhookBody);
  const { registerWorkflowHandler } = await client.data(
    'mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { workflowHandler { id } } }',
    { input: { workflowId: 'other', kind: 'HTTP', url: 'http://127.0.0.1:9/' } },
  );
  return {
    client,
    threadId: stored.body.threadId as string,
    messageId: stored.body.messageId as string,
    webhookId: webhook.body.id as string,
    handlerId: registerWorkflowHandler.workflowHandler.id as string,
  };
}
type Furnished = Awaited<ReturnType<typeof furnished>>;

const inbound = {
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'email',
  channelKey: 'a@example.com',
  content: { subject: 'Hello', body: 'Hello' },
};
const outbound = { ...inbound };
const webhookBody = { url: 'http://127.0.0.1:9/hook', events: ['thread.deleted'] };

const TRACES = /node_modules|\.[tj]s:\d+|prisma|postgres|SELECT |INSERT |\bat \w+ \(/i;

function expectRefused(answer: Answer, status: number, code: string, fields?: readonly string[]) {
  expect(JSON.stringify(answer.body)).not.toMatch(TRACES);
  expect(answer.body).toEqual({ error: expect.objectContaining({ code, message: expect.any(String) }) });
  expect(answer.status).toBe(status);
  expect(
    Object.keys(answer.body.error).filter((key) => !['code', 'message', 'details'].includes(key)),
  ).toEqual([]);
  for (const detail of answer.body.error.details ?? []) {
    expect(detail).toEqual({ field: expect.any(String), issue: expect.stringMatching(/./) });
  }
  if (fields) expect(fieldsOf(answer.body.error.details)).toEqual([...fields].sort());
}

const fieldsOf = (details: { field: string }[] = []) => details.map(({ field }) => field).sort();

function expectGraphQLRefused(answer: Answer, code: string | RegExp, fields?: readonly string[]) {
  expect(JSON.stringify(answer.body)).not.toMatch(TRACES);
  expect(answer.status).toBeLessThan(500);
  expect(answer.body.errors?.length ?? 0).toBeGreaterThan(0);
  for (const { extensions } of answer.body.errors) {
    expect(extensions.code).toMatch(code);
    expect(Object.keys(extensions).filter((key) => !['code', 'details'].includes(key))).toEqual([]);
  }
  if (!fields) return;
  const details = answer.body.errors.flatMap(
    ({ extensions }: { extensions: { details?: [] } }) => extensions.details ?? [],
  );
  expect(fieldsOf(details)).toEqual([...fields].sort());
}

/** Runs a request and expects that it changed nothing. */
async function expectNothingStored(client: Client, act: () => Promise<unknown>) {
  const before = await everythingOf(client);
  await act();
  expect(await everythingOf(client)).toEqual(before);
}

const nest = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
const withContent = (content: string) =>
  `{"workflowId":"w","participantId":"p","channel":"x","channelKey":"k","content":${content}}`;

/** Routes that take a body, with the path and one that they accept. */
const bodyRoutes: readonly [
  name: string,
  method: string,
  path: (given: Furnished) => string,
  body: object,
][] = [
  ['POST /inbound', 'POST', () => '/inbound', inbound],
  ['POST /outbound', 'POST', () => '/outbound', outbound],
  ['POST /outbound/webhook', 'POST', () => '/outbound/webhook', webhookBody],
  ['PUT /threads/{id}', 'PUT', ({ threadId }) => `/threads/${threadId}`, { status: 'closed' }],
];

describe.each(bodyRoutes)('the body of %s', (_name, method, path, body) => {
  it.each([
    ['malformed JSON', '{"a":', ['body']],
    ['JSON with something behind it', `${JSON.stringify(body)} x`, ['body']],
    ['a byte order mark', `\ufeff${JSON.stringify(body)}`, ['body']],
    ['an array', '[]', ['body']],
    ['an array that holds the body', JSON.stringify([body]), ['body']],
    ['a string', '"text"', ['body']],
    ['a number', '5', ['body']],
    ['true', 'true', ['body']],
    ['null', 'null', undefined],
    ['nothing', '', undefined],
  ])('is refused when it is %s', async (_case, text, fields) => {
    const given = await furnished();
    await expectNothingStored(given.client, async () => {
      expectRefused(await given.client.rest(method, path(given), text), 400, 'invalid_request', fields);
    });
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'application/xml', 'garbage', ';;;', ''])(
    'is refused as %j',
    async (contentType) => {
      const given = await furnished();
      await expectNothingStored(given.client, async () => {
        const answer = await given.client.rest(method, path(given), JSON.stringify(body), {
          'content-type': contentType,
        });
        expectRefused(answer, 400, 'invalid_request', ['body']);
      });
    },
  );

  it('is refused with 413 when it is longer than MAX_BODY_BYTES, announced or not', async () => {
    const given = await furnished();
    const text = JSON.stringify({ ...body, padding: 'x'.repeat(MAX_BODY_BYTES) });
    await expectNothingStored(given.client, async () => {
      expectRefused(await given.client.rest(method, path(given), text), 413, 'payload_too_large', ['body']);
      expectRefused(await sendInChunks(given.client, method, path(given), text), 413, 'payload_too_large', [
        'body',
      ]);
    });
  });

  it("is refused when it names another tenant, and taken when it names the caller's", async () => {
    const given = await furnished();
    const other = await app.tenant();
    for (const tenantId of [other.tenantId, 'never-existed', 5, '']) {
      await expectNothingStored(given.client, async () => {
        const answer = await given.client.rest(method, path(given), { ...body, tenantId });
        expectRefused(answer, 400, 'invalid_request', ['tenantId']);
      });
    }
    const answer = await given.client.rest(method, path(given), { ...body, tenantId: given.client.tenantId });
    expect(answer.status).toBe(200);
  });

  it('may have members called __proto__ and constructor, which pollute nothing', async () => {
    const given = await furnished();
    const text = JSON.stringify(body).replace(
      '{',
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},',
    );
    const answer = await given.client.rest(method, path(given), text);
    expect([200, 400]).toContain(answer.status);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

const LONG = 'x'.repeat(129);
const text16k = 'x'.repeat(16_385);

/** What each route refuses: the change to the accepted body (undefined removes a member) and the faulty fields. */
const refusals: Record<string, readonly [change: Record<string, unknown>, fields: readonly string[]][]> = {
  'POST /inbound': [
    ...['workflowId', 'participantId', 'channel', 'channelKey'].flatMap(
      (field): [Record<string, unknown>, string[]][] =>
        [undefined, null, 5, true, {}, ['x'], '', 'x'.repeat(321), 'a\u0000b', 'a\ud800', '\udc00b'].map(
          (value) => [{ [field]: value }, [field]],
        ),
    ),
    [
      { workflowId: LONG, participantId: LONG, channel: 'x'.repeat(65), idempotencyKey: LONG },
      ['workflowId', 'participantId', 'channel', 'idempotencyKey'],
    ],
    ...[undefined, null, 'text', 5, [], true].map((content): [Record<string, unknown>, string[]] => [
      { content },
      ['content'],
    ]),
    ...['text', 5, [], true].map((metadata): [Record<string, unknown>, string[]] => [
      { metadata },
      ['metadata'],
    ]),
    [{ metadata: { a: text16k } }, ['metadata']],
    [{ metadata: { a: 'ä'.repeat(8_190) } }, ['metadata']],
    ...['', 5, LONG, 'a\u0000', '\ud800'].map((idempotencyKey): [Record<string, unknown>, string[]] => [
      { idempotencyKey },
      ['idempotencyKey'],
    ]),
    [{ content: {} }, ['content']],
    [{ content: { subject: 5, body: [] } }, ['content.subject', 'content.body']],
    [{ content: { body: 'x', cc: 'a@b' } }, ['content.cc']],
    [{ content: { body: 'x', cc: ['a@b', 'nobody', 'c@d', 5] } }, ['content.cc[1]', 'content.cc[3]']],
    [{ content: { body: 'x', bcc: [`${'x'.repeat(999)}@b`] } }, ['content.bcc[0]']],
    [{ channel: 'chat', content: { text: 'x' } }, ['content.body']],
    [{ channel: 'sms', content: { body: null } }, ['content.body']],
    [{ channel: 'voice', content: { body: 'x' } }, ['content']],
    [{ channel: 'voice', content: { transcript: 5 } }, ['content.transcript']],
    [{ content: { body: 'a\u0000b' } }, ['content.body']],
    [{ content: { body: 'x', deep: [{ list: ['ok', '\ud800'] }] } }, ['content.deep[0].list[1]']],
    [{ content: { body: 'x', inner: { 'a\u0000b': 1 } } }, ['content.inner']],
    [{ metadata: { '\udfff': 1 } }, ['metadata']],
    [{ metadata: { a: { b: '\u0000' } } }, ['metadata.a.b']],
    [
      {
        workflowId: 5,
        channel: '',
        content: 'x',
        metadata: [],
        idempotencyKey: '',
        participantId: undefined,
        channelKey: null,
      },
      ['workflowId', 'channel', 'content', 'metadata', 'idempotencyKey', 'participantId', 'channelKey'],
    ],
    [
      { workflowId: '', content: { body: 5, cc: [''] }, tenantId: 'other' },
      ['workflowId', 'content.body', 'content.cc[0]', 'tenantId'],
    ],
  ],
  'POST /outbound': [
    [{ workflowId: undefined, participantId: undefined }, ['threadId']],
    [{ workflowId: undefined }, ['workflowId']],
    [{ participantId: null }, ['participantId']],
    [{ threadId: 'thread_x' }, ['workflowId', 'participantId']],
    [{ threadId: 5, workflowId: undefined, participantId: undefined }, ['threadId']],
    [{ channel: undefined, channelKey: undefined }, ['channel', 'channelKey']],
    [{ channelKey: undefined }, ['channelKey']],
    [{ channel: '', channelKey: '' }, ['channel', 'channelKey']],
    [{ channel: 'x'.repeat(65), channelKey: 'x'.repeat(321) }, ['channel', 'channelKey']],
    [{ workflowId: LONG, participantId: 'a\u0000' }, ['workflowId', 'participantId']],
    [{ content: undefined }, ['content']],
    [{ content: {}, metadata: 'x' }, ['content', 'metadata']],
    [{ content: { body: '\ud800' } }, ['content.body']],
    [{ metadata: { a: text16k } }, ['metadata']],
    [{ idempotencyKey: LONG }, ['idempotencyKey']],
  ],
  'POST /outbound/webhook': [
    [{ url: undefined, events: undefined }, ['url', 'events']],
    ...[
      null,
      5,
      '',
      'example.com',
      'ftp://example.com',
      'javascript:alert(1)',
      'http://',
      'http:///x',
      '//example.com',
      'http://a b/',
      'http://user:password@example.com',
      'https://user@example.com/',
      'https://example.com/#x',
      `https://example.com/${'x'.repeat(2_048)}`,
      'https://example.com/\u0000',
      'https://example.com/\ud800',
      'http://10.0.0.1/',
      'http://169.254.169.254/latest',
      'http://[fd00::1]/',
      'http://0x0a000001/',
      'http://2130706433.example.com:99999/',
    ].map((url): [Record<string, unknown>, string[]] => [{ url }, ['url']]),
    ...[null, 'message.created', 5, {}, []].map((events): [Record<string, unknown>, string[]] => [
      { events },
      ['events'],
    ]),
    [
      { events: ['message.created', 'nope', 5, 'MESSAGE_CREATED', ''] },
      ['events[1]', 'events[2]', 'events[3]', 'events[4]'],
    ],
    [{ events: ['conversation.created', 'run.updated', '*'] }, ['events[0]', 'events[1]', 'events[2]']],
    ...[
      'x'.repeat(15),
      'x'.repeat(256),
      '',
      5,
      'whsec_not base64 at all',
      'whsec_YWJj!!!!YWJjYWJj',
      'whsec_MTIzNDU2Nzg5MDEyMzQ1Ng',
      `0123456789abcdef\u0000`,
      `0123456789abcdef\ud800`,
    ].map((secret): [Record<string, unknown>, string[]] => [{ secret }, ['secret']]),
    [{ description: 'x'.repeat(1_025) }, ['description']],
    [
      { description: 'a\u0000', ordered: 'yes', ratePerSecond: 0 },
      ['description', 'ordered', 'ratePerSecond'],
    ],
    ...[1.5, 10_001, -1, '5'].map((ratePerSecond): [Record<string, unknown>, string[]] => [
      { ratePerSecond },
      ['ratePerSecond'],
    ]),
    ...['x', 5, ['a']].map((headers): [Record<string, unknown>, string[]] => [{ headers }, ['headers']]),
    [
      { headers: { 'a b': 'x', 'content-length': '5', 'webhook-id': 'x', ok: 5, fine: 'x\r\ny: z' } },
      ['headers.a b', 'headers.content-length', 'headers.webhook-id', 'headers.ok', 'headers.fine'],
    ],
    [{ headers: { a: 'x'.repeat(5_000) } }, ['headers']],
  ],
  'PUT /threads/{id}': [
    [{ status: undefined }, ['body']],
    [{ status: null, metadata: null }, ['body']],
    ...['nope', 'ACTIVE', '', 5, [], 'active\u0000'].map((status): [Record<string, unknown>, string[]] => [
      { status },
      ['status'],
    ]),
    ...['x', 5, []].map((metadata): [Record<string, unknown>, string[]] => [{ metadata }, ['metadata']]),
    [{ metadata: { a: text16k } }, ['metadata']],
    [{ metadata: { a: '\u0000', b: '\udc00' } }, ['metadata.a', 'metadata.b']],
    [{ status: 'nope', metadata: [] }, ['status', 'metadata']],
  ],
};

describe.each(bodyRoutes)('%s', (name, method, path, body) => {
  it.each(refusals[name] ?? [])('names every fault of %j', async (change, fields) => {
    const given = await furnished();
    await expectNothingStored(given.client, async () => {
      const answer = await given.client.rest(method, path(given), { ...body, ...change });
      expectRefused(answer, 400, 'invalid_request', fields);
    });
  });
});

describe('JSON that is stored', () => {
  it.each([
    ['content', withContent(nest(10_000)), ['content.a.a.a']],
    [
      'content in lists',
      withContent(`{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`),
      ['content.a[0][0]'],
    ],
    ['content one level too deep', withContent(nest(65)), ['content.a.a.a']],
    ['metadata', withContent('{}').replace('{', `{"metadata":${nest(10_000)},`), ['metadata.a.a.a']],
  ])('is refused when it is too deep: %s', async (_case, text, fields) => {
    const client = await app.tenant();
    await expectNothingStored(client, async () => {
      const answer = await client.rest('POST', '/inbound', text);
      expect(answer.status).toBe(400);
      expect(
        answer.body.error.details.map(({ field }: { field: string }) =>
          field.replace(/^((?:[^.[]+[.[]?){1,4}).*$/, '$1'),
        ),
      ).toHaveLength(1);
      expect(answer.body.error.details[0].field.startsWith(fields[0]!.split('.')[0]!)).toBe(true);
      expect(answer.body.error.details[0].issue).toMatch(/deep/);
    });
  });

  it('may be 64 levels deep', async () => {
    const client = await app.tenant();
    const { status, body } = await client.rest('POST', '/inbound', withContent(nest(64)));
    expect(status).toBe(200);
    const { message } = await client.data('query ($id: ID!) { message(id: $id) { content } }', {
      id: body.messageId,
    });
    expect(JSON.stringify(message.content)).toBe(nest(64));
  });

  it.each(['1e400', '-1e400', '[0,{"a":1e999}]'])(
    'is refused with the number %s, which has no value',
    async (number) => {
      const client = await app.tenant();
      await expectNothingStored(client, async () => {
        const answer = await client.rest('POST', '/inbound', withContent(`{"number":${number}}`));
        expectRefused(answer, 400, 'invalid_request');
        expect(answer.body.error.details[0].field).toMatch(/^content\.number/);
      });
    },
  );

  it.each(['1e308', '5e-324', '9007199254740991', '-0.1', '12345678901234567890'])(
    'keeps the number %s as JavaScript reads it',
    async (number) => {
      const client = await app.tenant();
      const { body } = await client.rest('POST', '/inbound', withContent(`{"number":${number}}`));
      const { body: thread } = await client.rest('GET', `/threads/${body.threadId}`);
      expect(thread.messages[0].content).toEqual({ number: Number(number) });
    },
  );

  it('keeps members called __proto__, constructor, toString and the empty name', async () => {
    const client = await app.tenant();
    const content =
      '{"":1,"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"toString":null,"hasOwnProperty":5,"toJSON":"x"}';
    const answer = await client.rest(
      'POST',
      '/inbound',
      withContent(content).replace('{', `{"metadata":${content},"idempotencyKey":"k",`),
    );
    expect(answer.status).toBe(200);
    const { body: thread } = await client.rest('GET', `/threads/${answer.body.threadId}`);
    for (const kept of [thread.messages[0].content, thread.messages[0].metadata]) {
      expect(Object.entries(kept).sort()).toEqual(Object.entries(JSON.parse(content)).sort());
    }
    const viaGraphQL = await client.rest(
      'POST',
      '/../../../graphql',
      `{"query":"mutation ($c: JSONObject!) { receiveInboundMessage(input: {workflowId: \\"w\\", participantId: \\"q\\", channel: \\"x\\", channelKey: \\"k\\", content: $c, metadata: {__proto__: {polluted: true}, constructor: 1}}) { message { content metadata } } }","variables":{"c":${content}}}`,
    );
    expect(viaGraphQL.body.errors).toBeUndefined();
    const { message } = viaGraphQL.body.data.receiveInboundMessage;
    expect(Object.entries(message.content).sort()).toEqual(Object.entries(JSON.parse(content)).sort());
    expect(Object.entries(message.metadata).sort()).toEqual([
      ['__proto__', { polluted: true }],
      ['constructor', 1],
    ]);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it('keeps text with control characters, astral characters and noncharacters', async () => {
    const client = await app.tenant();
    const body = '\u0001\u001f\u007f\u2028\uffff\ufffe😀e\u0301\\"\'%00$1{}';
    const answer = await client.rest('POST', '/inbound', {
      ...inbound,
      workflowId: body,
      participantId: body,
      content: { body, [body]: body },
    });
    const { body: thread } = await client.rest('GET', `/threads/${answer.body.threadId}`);
    expect(thread).toMatchObject({ workflowId: body, participantId: body });
    expect(thread.messages[0].content).toEqual({ body, [body]: body });
  });
});

describe('the idempotency key', () => {
  it.each(['/inbound', '/outbound'])('of %s is refused when header and body differ', async (path) => {
    const client = await app.tenant();
    for (const idempotencyKey of ['two', 5, {}, '']) {
      await expectNothingStored(client, async () => {
        const answer = await client.rest(
          'POST',
          path,
          { ...inbound, idempotencyKey },
          { 'idempotency-key': 'one' },
        );
        expectRefused(answer, 400, 'invalid_request', ['idempotencyKey']);
      });
    }
  });

  it.each(['', LONG])('is refused as the header %j', async (key) => {
    const client = await app.tenant();
    await expectNothingStored(client, async () => {
      const answer = await client.rest('POST', '/inbound', inbound, { 'idempotency-key': key });
      expectRefused(answer, 400, 'invalid_request', ['idempotencyKey']);
    });
  });
});

describe('query parameters', () => {
  it.each([
    ['/threads?page=0', ['page']],
    ['/threads?page=-1', ['page']],
    ['/threads?page=1.5', ['page']],
    ['/threads?page=', ['page']],
    ['/threads?page=1e3', ['page']],
    ['/threads?page=99999999999999999999', ['page']],
    ['/threads?page=9007199254740993', ['page']],
    ['/threads?page=%00', ['page']],
    ['/threads?page=1%00', ['page']],
    ['/threads?page=%D9%A1', ['page']],
    ['/threads?pageSize=abc', ['pageSize']],
    ['/threads?pageSize=0', ['pageSize']],
    ['/threads?pageSize=101', ['pageSize']],
    ['/threads?pageSize=1e400', ['pageSize']],
    ['/threads?page=1&page=2', ['page']],
    ['/threads?workflowId=a&workflowId=b', ['workflowId']],
    ['/threads?status=nope', ['status']],
    ['/threads?status=ACTIVE', ['status']],
    ['/threads?status=active&status=closed', ['status']],
    ['/threads?workflowId=%00', ['workflowId']],
    ['/threads?participantId=a%00b', ['participantId']],
    [`/threads?participantId=${'x'.repeat(321)}`, ['participantId']],
    [
      '/threads?page=0&pageSize=abc&status=x&workflowId=%00&participantId=a&participantId=b',
      ['page', 'pageSize', 'status', 'workflowId', 'participantId'],
    ],
  ])('of %s are refused, every fault at once', async (path, fields) => {
    const client = await app.tenant();
    expectRefused(await client.rest('GET', path), 400, 'invalid_request', fields);
  });

  it.each([
    ['page=0', ['page']],
    ['pageSize=501', ['pageSize']],
    ['pageSize=0', ['pageSize']],
    ['page=x&pageSize=y', ['page', 'pageSize']],
    ['page=1&page=1', ['page']],
  ])('of a thread are refused: %s', async (query, fields) => {
    const { client, threadId } = await furnished();
    expectRefused(await client.rest('GET', `/threads/${threadId}?${query}`), 400, 'invalid_request', fields);
  });

  it.each([
    'permanent=yes',
    'permanent=TRUE',
    'permanent=',
    'permanent=true&permanent=true',
    'permanent=1',
    'permanent=true%00',
  ])('of a deletion are refused: %s', async (query) => {
    const { client, threadId } = await furnished();
    await expectNothingStored(client, async () => {
      expectRefused(await client.rest('DELETE', `/threads/${threadId}?${query}`), 400, 'invalid_request', [
        'permanent',
      ]);
    });
  });

  it.each([
    '__proto__=1&constructor=2&hasOwnProperty=3',
    'unknown=1',
    'workflowId=%zz',
    'workflowId=%ED%A0%80',
    '%',
    '&&&=',
    'page[]=2',
    'workflowId',
  ])('that mean nothing are ignored: %s', async (query) => {
    const client = await app.tenant();
    const { status, body } = await client.rest('GET', `/threads?${query}`);
    expect({ status, body }).toEqual({
      status: 200,
      body: { threads: [], page: 1, pageSize: 20, hasMore: false },
    });
  });
});

const badIds = [
  'x',
  '1',
  'null',
  '__proto__',
  'constructor',
  '%00',
  'thread_%00',
  'thread_',
  'message_01h455vb4pex5vsknk084sn02q',
  '01h455vb4pex5vsknk084sn02q',
  '018a2f3c-0000-7000-8000-000000000000',
  'thread_01h455vb4pex5vsknk084sn02',
  'thread_01h455vb4pex5vsknk084sn02qq',
  'thread_01H455VB4PEX5VSKNK084SN02Q',
  'thread_01h455vb4pex5vsknk084sn02u',
  'thread_8zzzzzzzzzzzzzzzzzzzzzzzzz',
  'thread_zzzzzzzzzzzzzzzzzzzzzzzzzz',
  'THREAD_01h455vb4pex5vsknk084sn02q',
  'thread_thread_01h455vb4pex5vsknk084sn02q',
  "thread_01h455vb4pex5vsknk084sn02q'--",
  '%F0%9F%98%80',
  'x'.repeat(129),
  'x'.repeat(511),
  'x'.repeat(600),
  'x'.repeat(10_000),
];

describe.each([
  ['GET', '/threads/', 'Thread'],
  ['PUT', '/threads/', 'Thread'],
  ['DELETE', '/threads/', 'Thread'],
  ['GET', '/outbound/webhook/', 'Webhook'],
  ['DELETE', '/outbound/webhook/', 'Webhook'],
])('%s %s{id}', (method, path, noun) => {
  const body = method === 'PUT' ? { status: 'closed' } : undefined;

  it.each(badIds)('answers 404 to the id %s', async (badId) => {
    const id = noun === 'Webhook' ? badId.replaceAll('thread_', 'webhook_') : badId;
    const client = await app.tenant();
    const answer = await client.rest(method, path + id, body);
    expectRefused(answer, 404, 'not_found');
    if (id.length < 500) expect(answer.body.error.message).toBe(`${noun} not found`);
  });

  it.each(['%zz', '%', '%f', '%C3%28', '%FF', '%ED%A0%80'])('refuses the malformed path %s', async (id) => {
    const client = await app.tenant();
    expectRefused(await client.rest(method, path + id, body), 400, 'invalid_request', ['url']);
  });
});

/** For each mutation: the input it accepts, and what of it can be wrong. */
const mutations: Record<
  string,
  {
    accepted: (given: Furnished) => Record<string, unknown>;
    texts: readonly string[];
    refused: readonly [Record<string, unknown>, string[]][];
  }
> = {
  receiveInboundMessage: {
    accepted: () => inbound,
    texts: ['workflowId', 'participantId', 'channel', 'channelKey', 'idempotencyKey'],
    refused: (refusals['POST /inbound'] ?? [])
      .filter(([change]) => !('tenantId' in change))
      .map(([change, fields]) => [change, [...fields]]),
  },
  sendOutboundMessage: {
    accepted: () => outbound,
    texts: ['workflowId', 'participantId', 'channel', 'channelKey', 'idempotencyKey'],
    refused: (refusals['POST /outbound'] ?? []).map(([change, fields]) => [change, [...fields]]),
  },
  updateMessageStatus: {
    accepted: ({ messageId }) => ({ messageId, status: 'READ' }),
    texts: [],
    refused: [
      [{ status: 'SENT' }, ['status']],
      [{ status: 'NOPE' }, ['status']],
      [{ status: undefined, messageId: undefined }, ['status', 'messageId']],
      [{ details: [] }, ['details']],
      [{ details: { a: '\u0000' } }, ['details.a']],
      [{ details: { a: text16k } }, ['details']],
    ],
  },
  updateThread: {
    accepted: ({ threadId }) => ({ id: threadId, status: 'CLOSED' }),
    texts: [],
    refused: [
      [{ status: undefined }, ['body']],
      [{ status: 'closed' }, ['status']],
      [{ metadata: { '\ud800': 1 } }, ['metadata']],
      [{ metadata: 'a; b' }, ['metadata']],
      [{ metadata: { a: text16k } }, ['metadata']],
      [{ id: undefined }, ['id']],
      [{ nope: 1 }, ['nope']],
    ],
  },
  archiveThread: {
    accepted: ({ threadId }) => ({ id: threadId }),
    texts: [],
    refused: [
      [{ id: null }, ['id']],
      [{ id: {} }, ['id']],
    ],
  },
  deleteThread: {
    accepted: ({ threadId }) => ({ id: threadId }),
    texts: [],
    refused: [
      [{ id: [] }, ['id']],
      [{ id: true }, ['id']],
      [{ permanent: true }, ['permanent']],
    ],
  },
  registerWebhook: {
    accepted: () => webhookBody,
    texts: ['url', 'secret', 'description'],
    refused: (refusals['POST /outbound/webhook'] ?? []).map(([change, fields]) => [change, [...fields]]),
  },
  updateWebhook: {
    accepted: ({ webhookId }) => ({ id: webhookId, description: 'changed' }),
    texts: ['url', 'description'],
    refused: [
      [{ events: [] }, ['events']],
      [{ events: ['nope'] }, ['events[0]']],
      [{ url: 'http://10.0.0.1' }, ['url']],
      [{ url: 'ftp://example.com' }, ['url']],
      [{ ratePerSecond: 0, headers: { 'webhook-id': 'x' } }, ['ratePerSecond', 'headers.webhook-id']],
      [{ secret: '0123456789abcdef' }, ['secret']],
      [{ status: 'ENABLED' }, ['status']],
    ],
  },
  pauseWebhook: {
    accepted: ({ webhookId }) => ({ id: webhookId }),
    texts: [],
    refused: [
      [{ id: null }, ['id']],
      [{ url: 'http://127.0.0.1:9/' }, ['url']],
    ],
  },
  resumeWebhook: {
    accepted: ({ webhookId }) => ({ id: webhookId }),
    texts: [],
    refused: [
      [{ id: null }, ['id']],
      [{ url: 'http://127.0.0.1:9/' }, ['url']],
    ],
  },
  sendTestWebhook: {
    accepted: ({ webhookId }) => ({ id: webhookId }),
    texts: [],
    refused: [
      [{ id: null }, ['id']],
      [{ url: 'http://127.0.0.1:9/' }, ['url']],
    ],
  },
  rotateWebhookSecret: {
    accepted: ({ webhookId }) => ({ id: webhookId, secret: 'a secret of one’s own' }),
    texts: ['secret'],
    refused: [
      [{ id: {} }, ['id']],
      [{ secret: 'short' }, ['secret']],
      [{ secret: 'x'.repeat(256) }, ['secret']],
      [{ secret: 'whsec_%%%%%%%%%%%%' }, ['secret']],
    ],
  },
  retryDelivery: {
    accepted: () => ({ id: encodeId('delivery', newId()) }),
    texts: [],
    refused: [[{ id: {} }, ['id']]],
  },
  recoverWebhook: {
    accepted: ({ webhookId }) => ({ id: webhookId, since: '2026-01-01T00:00:00Z' }),
    texts: [],
    refused: [
      [{ id: {} }, ['id']],
      [{ since: undefined }, ['since']],
      [{ since: 'yesterday' }, ['since']],
      [{ since: '9999-12-31T23:59:59-23:59' }, ['since']],
    ],
  },
  deleteWebhook: {
    accepted: ({ webhookId }) => ({ id: webhookId }),
    texts: [],
    refused: [[{ id: null }, ['id']]],
  },
  registerWorkflowHandler: {
    accepted: () => ({ workflowId: 'w', kind: 'HTTP', url: 'http://127.0.0.1:9/' }),
    texts: ['workflowId', 'url', 'secret'],
    refused: [
      [{ workflowId: '' }, ['workflowId']],
      [{ workflowId: LONG, url: 'http://192.168.0.1/' }, ['workflowId', 'url']],
      [{ url: undefined }, ['url']],
      [{ url: 'https://user:pw@example.com/' }, ['url']],
      [{ kind: 'PIGEON' }, ['kind']],
      [{ secret: 'short' }, ['secret']],
      [{ secret: 'x'.repeat(256) }, ['secret']],
      [{ secret: 'whsec_%%%%%%%%%%%%' }, ['secret']],
      [{ deliverPending: 'yes' }, ['deliverPending']],
    ],
  },
  deleteWorkflowHandler: {
    accepted: ({ handlerId }) => ({ id: handlerId }),
    texts: [],
    refused: [[{ id: {} }, ['id']]],
  },
  retrySignal: {
    accepted: () => ({ id: encodeId('signal', newId()) }),
    texts: [],
    refused: [[{ id: {} }, ['id']]],
  },
  createTenant: {
    accepted: () => ({ id: 'fresh', name: 'x' }),
    texts: ['name'],
    refused: [
      ...['', 'Upper', 'a b', 'ü', 'x'.repeat(64), 'a\u0000', 'a/b', "a'"].map(
        (id): [Record<string, unknown>, string[]] => [{ id }, ['id']],
      ),
      [{ id: 5, name: [] }, ['id', 'name']],
      [{ name: '' }, ['name']],
      [{ name: LONG }, ['name']],
    ],
  },
  createApiKey: {
    accepted: () => ({ name: 'x', scopes: ['conversations:read'] }),
    texts: ['name'],
    refused: [
      [{ scopes: [] }, ['scopes']],
      [{ scopes: ['conversations:read', 'root'] }, ['scopes[1]']],
      [{ name: '', scopes: ['x', 'y'] }, ['name', 'scopes[0]', 'scopes[1]']],
      [{ name: LONG }, ['name']],
      [{ userId: 2 ** 31 }, ['userId']],
      [{ userId: 1.5 }, ['userId']],
      [{ expiresAt: '2001-01-01T00:00:00Z' }, ['expiresAt']],
      [{ expiresAt: 'tomorrow' }, ['expiresAt']],
      [{ expiresAt: '9999-12-31T23:59:59-23:59' }, ['expiresAt']],
      [{ expiresAt: 5 }, ['expiresAt']],
      [{ tenantId: 'Not A Tenant' }, ['tenantId']],
    ],
  },
  revokeApiKey: {
    accepted: () => ({ id: encodeId('key', newId()) }),
    texts: [],
    refused: [
      [{ id: null }, ['id']],
      [{ id: {} }, ['id']],
    ],
  },
};

const mutate = (client: Client, name: string, input: unknown) => {
  const type = `${name[0]!.toUpperCase()}${name.slice(1)}Input`;
  const inputType =
    {
      pauseWebhook: 'IdInput',
      resumeWebhook: 'IdInput',
      sendTestWebhook: 'IdInput',
      retryDelivery: 'IdInput',
      deleteWebhook: 'IdInput',
      deleteWorkflowHandler: 'IdInput',
      retrySignal: 'IdInput',
      revokeApiKey: 'IdInput',
    }[name] ?? type;
  return client.graphql(`mutation ($input: ${inputType}!) { ${name}(input: $input) { __typename } }`, {
    input,
  });
};

describe.each(Object.entries(mutations))('the mutation %s', (name, { accepted, texts, refused }) => {
  it.each(refused)('names the faults of %j', async (change, fields) => {
    const given = await furnished();
    const client = name === 'createTenant' ? app.operator : given.client;
    // GraphQL takes a single value for a list of one, and a number for an ID.
    if (change.events === 'message.created' || change.threadId === 5) return;
    await expectNothingStored(client, async () => {
      const answer = await mutate(client, name, { ...accepted(given), ...change });
      expectGraphQLRefused(answer, /^BAD_USER_INPUT$/);
      const named = answer.body.errors.flatMap(
        ({ extensions }: { extensions: { details: { field: string }[] } }) => fieldsOf(extensions.details),
      );
      expect(named.length).toBeGreaterThan(0);
      // Faults of type are found by GraphQL before the others are looked for.
      for (const field of named) expect(fields).toContain(field);
    });
  });

  it.each(
    texts.flatMap((field) =>
      ['a\u0000b0123456789abcdef', '\ud8000123456789abcdef'].map((text) => [field, text] as const),
    ),
  )('refuses %s with the text %j, once', async (field, text) => {
    const given = await furnished();
    const client = name === 'createTenant' ? app.operator : given.client;
    await expectNothingStored(client, async () => {
      const answer = await mutate(client, name, { ...accepted(given), [field]: text });
      expectGraphQLRefused(answer, 'BAD_USER_INPUT', [field]);
    });
  });

  it('answers NOT_FOUND or a fault to ids that are none', async () => {
    const given = await furnished();
    const idField = Object.keys(accepted(given)).find((key) => /^(id|messageId)$/.test(key));
    if (!idField || name === 'createTenant') return;
    await expectNothingStored(given.client, async () => {
      for (const id of [
        '',
        'x',
        '\u0000',
        '\ud800',
        'thread_zzzzzzzzzzzzzzzzzzzzzzzzzz',
        'x'.repeat(10_000),
        5,
        "'; DROP TABLE tenant; --",
      ]) {
        expectGraphQLRefused(
          await mutate(given.client, name, { ...accepted(given), [idField]: id }),
          'NOT_FOUND',
        );
      }
    });
  });
});

/** Values that a type cannot have. */
const impossible: Record<string, readonly unknown[]> = {
  String: [5, true, {}],
  ID: [true, {}, 1.5],
  Int: ['x', 1.5, 2 ** 31, true],
  Boolean: ['yes', 5],
  JSONObject: ['x; y', 5, []],
  DateTime: ['x', 5, '2020-01-01', '2020-13-01T00:00:00Z'],
};
/** Values that a type can have and that nothing should choke on. */
const strange: Record<string, readonly unknown[]> = {
  String: ['', '\u0000', '\ud800', 'x'.repeat(10_000), '__proto__', "'; --", '%00', '💥'],
  ID: ['', '\u0000', '\udc00', 'x'.repeat(10_000), '__proto__', 5, 'thread_', 'node'],
  Int: [-1, 0, 101, 2 ** 31 - 1, -(2 ** 31), null],
  Boolean: [null],
  JSONObject: [{}, { '\u0000': 1 }, JSON.parse(nest(100)), JSON.parse('{"__proto__":1}')],
  DateTime: [
    '0000-01-01T00:00:00Z',
    '0001-01-01T00:00:00Z',
    '9999-12-31T23:59:59.999Z',
    '9999-12-31T23:59:59-23:59',
  ],
};

interface Place {
  readonly name: string;
  readonly path: readonly string[];
  readonly type: GraphQLInputType;
}

/** The arguments of a field, and the members of those that are input objects. */
const placesOf = (field: GraphQLField<unknown, unknown>): Place[] =>
  field.args.flatMap((argument): Place[] => {
    const type = getNamedType(argument.type);
    const whole = { name: argument.name, path: [], type: argument.type };
    if (!isInputObjectType(type)) return [whole];
    return [
      whole,
      ...Object.values(type.getFields()).map((member) => ({
        name: argument.name,
        path: [member.name],
        type: member.type,
      })),
    ];
  });

/** Calls a field with one value at one place; what is required besides is left out. */
function callWith(
  client: Client,
  operation: string,
  field: GraphQLField<unknown, unknown>,
  place: Place,
  value: unknown,
) {
  const declared = field.args.map(({ name, type }) => `$${name}: ${type}`).join(', ');
  const given = field.args.map(({ name }) => `${name}: $${name}`).join(', ');
  const selection = isLeafType(getNamedType(field.type)) ? '' : '{ __typename }';
  const [member] = place.path;
  return client.graphql(`${operation} (${declared}) { ${field.name}(${given}) ${selection} }`, {
    [place.name]: member === undefined ? value : { [member]: value },
  });
}

const schema = createSchema();
const fieldsWithArguments = (['query', 'mutation'] as const).flatMap((operation) => {
  const type = operation === 'query' ? schema.getQueryType() : schema.getMutationType();
  return Object.values(type?.getFields() ?? {})
    .filter(({ args }) => args.length > 0)
    .map((field) => [`${operation} ${field.name}`, operation, field] as const);
});

describe.each(fieldsWithArguments)('every argument of the %s', (_name, operation, field) => {
  it('refuses values that its type cannot have, and names the field', async () => {
    const { client } = await furnished();
    await expectNothingStored(client, async () => {
      for (const place of placesOf(field)) {
        const type = getNamedType(place.type);
        const values = isEnumType(type)
          ? ['NOPE', 5, {}]
          : isInputObjectType(type)
            ? ['x; y', 5, { nope: 1 }]
            : impossible[type.name];
        for (const value of values ?? []) {
          const answer = await callWith(client, operation, field, place, value);
          expectGraphQLRefused(answer, 'BAD_USER_INPUT');
          const named = answer.body.errors.flatMap(
            ({ extensions }: { extensions: { details?: { field: string }[] } }) =>
              fieldsOf(extensions.details),
          );
          const fault = (value as { nope?: number }).nope ? 'nope' : (place.path[0] ?? place.name);
          expect(
            named.map((path: string) =>
              path
                .split('.')
                .at(-1)
                ?.replace(/\[\d+\]$/, ''),
            ),
          ).toContain(fault);
        }
      }
    });
  });

  it('takes strange values without harm', async () => {
    const client = await app.tenant();
    const before = await everythingOf(client);
    let accepted = 0;
    for (const place of placesOf(field)) {
      for (const value of strange[getNamedType(place.type).name] ?? []) {
        const { status, body, headers } = await callWith(client, operation, field, place, value);
        if (!body.errors) accepted++;
        else
          expectGraphQLRefused({ status, body, headers }, /^(BAD_USER_INPUT|NOT_FOUND|FORBIDDEN|CONFLICT)$/);
      }
    }
    // Where one argument is enough, a strange name is still a name.
    if (operation === 'query' || accepted === 0) expect(await everythingOf(client)).toEqual(before);
  });
});

describe('lists', () => {
  const lists = ['threads', 'webhooks', 'workflowHandlers', 'signals', 'apiKeys'];

  it.each(lists)('%s refuses sizes and cursors out of range, every fault at once', async (list) => {
    const client = await app.tenant();
    for (const [page, fields] of [
      ['first: 0', ['first']],
      ['first: 101', ['first']],
      ['last: -1', ['last']],
      ['first: 1, last: 1', ['last']],
      ['first: 0, last: 101, after: "x", before: ""', ['first', 'last', 'last', 'after', 'before']],
      ['after: "\\u0000"', ['after']],
      [`after: "${'x'.repeat(10_000)}"`, ['after']],
      [`after: "${Buffer.from('[]').toString('base64url')}"`, ['after']],
      [`after: "${Buffer.from('{"__proto__":1}').toString('base64url')}"`, ['after']],
    ] as const) {
      expectGraphQLRefused(
        await client.graphql(`{ ${list}(${page}) { edges { cursor } } }`),
        'BAD_USER_INPUT',
        fields,
      );
    }
  });

  it('refuse or survive cursors whose values were changed', async () => {
    const { client } = await furnished();
    const { threads } = await client.data('{ threads { pageInfo { endCursor } } }');
    const [list] = JSON.parse(Buffer.from(threads.pageInfo.endCursor, 'base64url').toString());
    const uuid = '018a2f3c-0000-7000-8000-000000000000';
    for (const [moment, id] of [
      ['-000001-01-01T00:00:00.000Z', uuid],
      ['0000-01-01T00:00:00.000Z', uuid],
      ['-271821-04-20T00:00:00.000Z', uuid],
      ['+275760-09-13T00:00:00.000Z', uuid],
      ['2020-01-01T00:00:00.000Z', `${uuid}'`],
      ['2020-01-01T00:00:00.000Z', 'FFFFFFFF-0000-7000-8000-000000000000'],
      ['2020-01-01T00:00:00.000Z', { lt: uuid }],
      [{ not: null }, uuid],
      [null, null],
      [1e308, 5],
    ]) {
      const after = Buffer.from(JSON.stringify([list, moment, id])).toString('base64url');
      const answer = await client.graphql(
        'query ($after: String) { threads(after: $after) { edges { cursor } } }',
        { after },
      );
      expectGraphQLRefused(answer, 'BAD_USER_INPUT', ['after']);
    }
  });
});

describe('a GraphQL request', () => {
  it.each([
    ['malformed JSON', '{"query":'],
    ['an array', '[{"query":"{ viewer { tenantId } }"}]'],
    ['null', 'null'],
    ['a string', '"{ viewer { tenantId } }"'],
    ['an empty object', '{}'],
    ['a query that is no text', '{"query":5}'],
    ['an empty query', '{"query":""}'],
    ['variables that are a list', '{"query":"{ viewer { tenantId } }","variables":[]}'],
    ['variables that are a text', '{"query":"{ viewer { tenantId } }","variables":"{}"}'],
    ['an operation name that is no text', '{"query":"{ viewer { tenantId } }","operationName":5}'],
    ['an operation name that there is none of', '{"query":"{ viewer { tenantId } }","operationName":"Nope"}'],
    ['extensions that are a list', '{"query":"{ viewer { tenantId } }","extensions":[]}'],
    [
      'a persisted query of another hash',
      '{"query":"{ viewer { tenantId } }","extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}',
    ],
    ['a syntax error', '{"query":"{ viewer { tenantId }"}'],
    ['U+0000 in the query', '{"query":"{ viewer\\u0000 { tenantId } }"}'],
    ['a field that there is none of', '{"query":"{ nope }"}'],
    ['a mutation that there is none of', '{"query":"mutation { dropTables }"}'],
    ['an unknown enum value', '{"query":"{ threads(filter: {status: NOPE}) { edges { cursor } } }"}'],
    ['a number that is too large', '{"query":"{ threads(first: 99999999999) { edges { cursor } } }"}'],
    ['a subscription', '{"query":"subscription { messageAdded { cursor } }"}'],
    [
      'two operations without a name',
      '{"query":"query A { viewer { tenantId } } query B { viewer { tenantId } }"}',
    ],
    [
      'more than the allowed depth',
      `{"query":"{ threads { edges { node ${'{ messages { edges { node { thread '.repeat(6)} { id } ${'} } } }'.repeat(6)} } } }"}`,
    ],
    [
      'fragments that spread each other',
      '{"query":"{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"}',
    ],
    ['too many tokens', `{"query":"{ ${'viewer { tenantId } '.repeat(1_000)} }"}`],
    [
      'an inline literal 10,000 levels deep',
      `{"query":"mutation { receiveInboundMessage(input: {workflowId: \\"w\\", participantId: \\"p\\", channel: \\"x\\", channelKey: \\"k\\", content: ${'{a: '.repeat(10_000)}1${'}'.repeat(10_000)}}) { message { id } } }"}`,
    ],
  ])('is a 400 with %s', async (_case, text) => {
    const { client } = await furnished();
    await expectNothingStored(client, async () => {
      const answer = await client.rest('POST', '/../../../graphql', text);
      expect(answer.status).toBe(400);
      expectGraphQLRefused(
        answer,
        /^(BAD_REQUEST|BAD_USER_INPUT|GRAPHQL_PARSE_FAILED|GRAPHQL_VALIDATION_FAILED|OPERATION_RESOLUTION_FAILURE)$/,
      );
    });
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'garbage'])(
    'is refused as %s',
    async (contentType) => {
      const client = await app.tenant();
      const answer = await client.rest('POST', '/../../../graphql', '{"query":"{ viewer { tenantId } }"}', {
        'content-type': contentType,
      });
      expect(answer.status).toBe(400);
      expectGraphQLRefused(answer, /^(BAD_REQUEST|BAD_USER_INPUT)$/);
    },
  );

  it('is refused with 413 when it is longer than MAX_BODY_BYTES', async () => {
    const client = await app.tenant();
    const answer = await client.graphql('{ viewer { tenantId } }', { padding: 'x'.repeat(MAX_BODY_BYTES) });
    expect(answer.status).toBe(413);
    expectGraphQLRefused(answer, 'PAYLOAD_TOO_LARGE', ['body']);
  });

  it('is refused with JSON 10,000 levels deep in its variables', async () => {
    const client = await app.tenant();
    await expectNothingStored(client, async () => {
      const answer = await client.rest(
        'POST',
        '/../../../graphql',
        `{"query":"mutation ($i: ReceiveInboundMessageInput!) { receiveInboundMessage(input: $i) { message { id } } }","variables":{"i":${withContent(nest(7_000))}}}`,
      );
      expectGraphQLRefused(answer, 'BAD_USER_INPUT');
      expect(answer.body.errors[0].extensions.details[0].field).toMatch(/^content\./);
    });
  });

  it('is refused with an inline literal that is too deep or has a number without a value', async () => {
    const client = await app.tenant();
    for (const literal of [
      `${'{a: '.repeat(300)}1${'}'.repeat(300)}`,
      '{a: 1e400}',
      '{a: "\\u0000"}',
      '{a: "\\uD800"}',
    ]) {
      await expectNothingStored(client, async () => {
        const answer = await client.graphql(
          `mutation { receiveInboundMessage(input: {workflowId: "w", participantId: "p", channel: "x", channelKey: "k", content: ${literal}}) { message { id } } }`,
        );
        expectGraphQLRefused(answer, /^(BAD_USER_INPUT|GRAPHQL_PARSE_FAILED|GRAPHQL_VALIDATION_FAILED)$/);
      });
    }
  });

  it('names the variable that is missing or null', async () => {
    const client = await app.tenant();
    const query = 'mutation ($input: IdInput!) { deleteWebhook(input: $input) { deletedId } }';
    for (const variables of [{}, { input: null }]) {
      expectGraphQLRefused(await client.graphql(query, variables), 'BAD_USER_INPUT', ['input']);
    }
  });

  it('of a browser form cannot change anything', async () => {
    const { client, threadId } = await furnished();
    const query = `mutation { deleteThread(input: {id: "${threadId}"}) { deletedThreadId } }`;
    await expectNothingStored(client, async () => {
      const answer = await client.rest(
        'GET',
        `/../../../graphql?query=${encodeURIComponent(query)}`,
        undefined,
        { 'apollo-require-preflight': '1' },
      );
      expect(answer.status).toBe(405);
    });
  });
});

describe('over the WebSocket', () => {
  const run = (client: Client, query: string, variables = {}) =>
    new Promise<{ errors: { extensions: { code: string } }[] }>((resolve) => {
      connect(app.url, client.apiKey).subscribe(
        { query, variables },
        {
          next: (value) => resolve(value as never),
          error: (errors) => resolve({ errors } as never),
          complete: () => resolve({ errors: [] }),
        },
      );
    });

  it.each([
    ['a syntax error', '{', {}, 'GRAPHQL_PARSE_FAILED'],
    ['a field that there is none of', '{ nope }', {}, 'GRAPHQL_VALIDATION_FAILED'],
    [
      'a variable of the wrong type',
      'query ($id: ID!) { thread(id: $id) { id } }',
      { id: {} },
      'BAD_USER_INPUT',
    ],
    [
      'a variable of the wrong type in a subscription',
      'subscription ($id: ID) { messageAdded(threadId: $id) { cursor } }',
      { id: {} },
      'BAD_USER_INPUT',
    ],
    [
      'U+0000 in a filter',
      'subscription { messageAdded(workflowId: "\\u0000") { cursor } }',
      {},
      'BAD_USER_INPUT',
    ],
    [
      'a lone surrogate in a filter',
      'subscription ($p: String) { messageAdded(participantId: $p) { cursor } }',
      { p: '\ud800' },
      'BAD_USER_INPUT',
    ],
    [
      'a filter that is too long',
      'subscription ($p: String) { messageAdded(participantId: $p) { cursor } }',
      { p: LONG },
      'BAD_USER_INPUT',
    ],
    ['a cursor that is none', 'subscription { messageAdded(after: "x") { cursor } }', {}, 'BAD_USER_INPUT'],
    [
      'a cursor in the future',
      'subscription ($after: String) { messageAdded(after: $after) { cursor } }',
      'future',
      'BAD_USER_INPUT',
    ],
    [
      'a document that is too deep',
      `{ threads { edges { node ${'{ messages { edges { node { thread '.repeat(6)} { id } ${'} } } }'.repeat(6)} } } }`,
      {},
      'BAD_USER_INPUT',
    ],
    ['too many tokens', `{ ${'viewer { tenantId } '.repeat(1_000)} }`, {}, 'GRAPHQL_PARSE_FAILED'],
  ])('%s is refused', async (_case, query, variables, code) => {
    const client = await app.tenant();
    const future = { after: Buffer.from(`${client.tenantId}:1000`).toString('base64url') };
    const { errors } = await run(client, query, variables === 'future' ? future : (variables as object));
    expect(errors.map(({ extensions }) => extensions.code)).toEqual([code]);
    expect(JSON.stringify(errors)).not.toMatch(TRACES);
  });
});

describe('where a webhook may go', () => {
  it('is not a private or loopback address unless the operator allows it', async () => {
    const strict = await startAppForTest({ allowedTargetCidrs: [] });
    const client = await strict.tenant();
    for (const url of [
      'http://127.0.0.1/',
      'http://localhost:80/',
      'http://[::1]/',
      'http://2130706433/',
      'http://0x7f.1/',
      'http://[::ffff:127.0.0.1]/',
      'http://10.1.2.3/',
      'http://192.168.1.1/',
      'http://172.16.0.1/',
      'http://169.254.169.254/',
      'http://100.64.0.1/',
      'http://0.0.0.0/',
    ]) {
      expectRefused(
        await client.rest('POST', '/outbound/webhook', { ...webhookBody, url }),
        400,
        'invalid_request',
        ['url'],
      );
      expectGraphQLRefused(
        await mutate(client, 'registerWebhook', { ...webhookBody, url }),
        'BAD_USER_INPUT',
        ['url'],
      );
      expectGraphQLRefused(
        await mutate(client, 'registerWorkflowHandler', { workflowId: 'w', kind: 'HTTP', url }),
        'BAD_USER_INPUT',
        ['url'],
      );
    }
    expect((await client.rest('GET', '/outbound/webhook')).body).toEqual({ webhooks: [] });
  });

  it('must be https when the operator says so', async () => {
    const strict = await startAppForTest({ requireHttpsTargets: true });
    const client = await strict.tenant();
    expectRefused(await client.rest('POST', '/outbound/webhook', webhookBody), 400, 'invalid_request', [
      'url',
    ]);
    expect(
      (await client.rest('POST', '/outbound/webhook', { ...webhookBody, url: 'https://example.com/' }))
        .status,
    ).toBe(200);
  });
});

describe('a body of millions of values', () => {
  const zeros = `[${'0,'.repeat(HUGE)}0]`;
  const words = `[${'"",'.repeat(HUGE)}""]`;

  it.each([
    ['addresses', '/inbound', withContent(`{"body":"x","cc":${words}}`).replace('"x"', '"email"')],
    ['events', '/outbound/webhook', `{"url":"https://example.com","events":${zeros}}`],
    [
      'headers',
      '/outbound/webhook',
      `{"url":"https://example.com","events":["thread.deleted"],"headers":{${Array.from({ length: 200_000 }, (_, i) => `"${i} ":0`).join()}}}`,
    ],
    [
      'lone surrogates',
      '/inbound',
      withContent(`[${'"\\ud800",'.repeat(HUGE / 2)}0]`)
        .replace('"content":', '"content":{"a":')
        .concat('}'),
    ],
    ['metadata', '/inbound', withContent('{}').replace('{', `{"metadata":{"a":${zeros}},`)],
  ])('that are faulty gets a short answer soon: %s', async (_case, path, text) => {
    const roomy = await startAppForTest();
    const startedAt = performance.now();
    const answer = await roomy.operator.rest('POST', path, text);
    expectRefused(answer, 400, 'invalid_request');
    expect(JSON.stringify(answer.body).length).toBeLessThan(10_000);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});

describe('a JSON object of very many values', () => {
  const MOST = 200_000;
  const zeros = (count: number) => `[${'0,'.repeat(count - 1)}0]`;

  it('is stored up to 200,000 members and items, all levels together, and refused beyond', async () => {
    const roomy = await startAppForTest();
    const post = (content: string) => roomy.operator.rest('POST', '/inbound', withContent(content));
    expect((await post(`{"a":${zeros(MOST - 1)}}`)).status).toBe(200);
    for (const content of [`{"a":${zeros(MOST)}}`, `{"a":${zeros(MOST / 2)},"b":[${zeros(MOST / 2)}]}`]) {
      const answer = await post(content);
      expectRefused(answer, 400, 'invalid_request', ['content']);
      expect(answer.body.error.details[0].issue).toBe('must not have more than 200000 members and items');
    }
  });

  it.each([
    ['numbers', '0,'],
    ['objects', '{},'],
    ['members', '{"a":1,"b":[0]},'],
  ])('is refused soon however many there are: %s', async (_name, unit) => {
    const roomy = await startAppForTest();
    const values = `[${unit.repeat(10_000_000 / unit.length)}0]`;
    const startedAt = performance.now();
    const answer = await roomy.operator.rest('POST', '/inbound', withContent(`{"a":${values}}`));
    expectRefused(answer, 400, 'invalid_request', ['content']);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});

/** A request without Content-Length. */
function sendInChunks(client: Client, method: string, path: string, text: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(app.url + REST + path, {
      method,
      headers: {
        authorization: `Bearer ${client.apiKey}`,
        'content-type': 'application/json',
        'transfer-encoding': 'chunked',
      },
    });
    request.on('response', async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      resolve({
        status: response.statusCode ?? 0,
        headers: new Headers(),
        body: JSON.parse(Buffer.concat(chunks).toString()),
      });
    });
    request.on('error', reject);
    for (let at = 0; at < text.length; at += 16_384) request.write(text.slice(at, at + 16_384));
    request.end();
  });
}
