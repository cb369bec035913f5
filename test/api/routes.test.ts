import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeId, type Noun, newId } from '../../src/ids.js';
import { restRoutes } from '../../src/rest-compat/routes.js';
import { type Answer, type Client, REST, startApp, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';

const MAX_BODY_BYTES = 64 * 1024;

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ maxBodyBytes: MAX_BODY_BYTES });
});
afterAll(() => app.close());

const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const id = (noun: Noun) => expect.stringMatching(new RegExp(`^${noun}_[0-7][0-9a-hjkmnp-tv-z]{25}$`));
const NOWHERE = 'http://127.0.0.1:9/';

const file = { filename: 'a.txt', contentType: 'text/plain', contentId: 'a', data: 'SGVsbG8=' };
const email = {
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'email',
  channelKey: 'participant_1@example.com',
  content: { subject: 'Hello', attachments: [file] },
  metadata: { a: 1 },
};

/** A tenant with a thread of one email with an attachment, and a webhook. */
async function furnished(of = app) {
  const client = await of.tenant();
  const stored = (await client.rest('POST', '/inbound', email)).body;
  const message = (await client.rest('GET', `/messages/${stored.messageId}`)).body;
  const webhook = await client.rest('POST', '/outbound/webhook', {
    url: NOWHERE,
    events: ['thread.deleted'],
  });
  const ids = {
    threadId: stored.threadId as string,
    messageId: stored.messageId as string,
    attachmentId: message.content.attachments[0].id as string,
    webhookId: webhook.body.id as string,
  };
  return { client, ...ids, thread: threadOf(client), message: messageOf(of, ids) };
}
type Furnished = Awaited<ReturnType<typeof furnished>>;

const threadOf = ({ tenantId }: Client) => ({
  id: id('thread'),
  workflowId: 'workflow_1',
  tenantId,
  participantId: 'participant_1',
  createdAt: time,
  updatedAt: time,
  status: 'active',
  metadata: {},
});

const messageOf = (
  { url }: TestApp,
  given: { attachmentId: string; threadId: string; messageId: string },
) => ({
  id: given.messageId,
  threadId: given.threadId,
  position: 1,
  channel: 'email',
  channelKey: 'participant_1@example.com',
  createdAt: time,
  direction: 'inbound',
  content: {
    subject: 'Hello',
    attachments: [
      {
        filename: 'a.txt',
        contentType: 'text/plain',
        contentId: 'a',
        id: given.attachmentId,
        size: 5,
        url: `${url}${REST}/attachments/${given.attachmentId}`,
      },
    ],
  },
  status: 'sent',
  metadata: { a: 1 },
  logs: [{ timestamp: time, event: 'created', details: null }],
});

const stored = (threadId: string, position: number) => ({
  threadId,
  messageId: id('message'),
  position,
  createdAt: time,
});

const webhook = (webhookId: unknown, events = ['thread.deleted']) => ({
  id: webhookId,
  url: NOWHERE,
  events,
  createdAt: time,
});

type Case = readonly [path: string, body?: unknown];

interface Row {
  /** A request that succeeds. */
  readonly request: (given: Furnished) => Case;
  /** The whole answer, its members in the documented order. */
  readonly answer: (given: Furnished) => unknown;
  /** Its content type, unless it is JSON. */
  readonly type?: string;
  /** Whether the answer says where the log stood (`X-Event-Cursor`). */
  readonly hasCursor?: true;
  /** Requests with other parameters, and what of the answer shows that they count. */
  readonly parameters?: (given: Furnished) => readonly [path: string, body: unknown, shows: unknown][];
  /** Requests that are at fault, with all details; `bad-input.test.ts` has many more. */
  readonly refused: (
    given: Furnished,
  ) => readonly [path: string, body: unknown, details: [string, string][]][];
  /** What its id is of; the path with another id. */
  readonly names?: readonly [noun: Noun, path: (id: string) => Case];
  /** Requests that are in conflict with one another: the second is refused. */
  readonly conflict?: () => readonly [Case, Case];
}

const required = (...fields: string[]): [string, string][] => fields.map((field) => [field, 'is required']);
const conflict = (path: string): readonly [Case, Case] => [
  [path, { ...email, idempotencyKey: 'key' }],
  [path, { ...email, idempotencyKey: 'key', metadata: {} }],
];
const statusIssue = 'must be one of active, archived, closed';

/** Every row of section 5. */
const rows: Record<string, Row> = {
  'GET /threads': {
    request: () => ['/threads'],
    answer: ({ thread }) => ({ threads: [thread], page: 1, pageSize: 20, hasMore: false }),
    hasCursor: true,
    parameters: () => [
      ['/threads?page=2&pageSize=100', undefined, { threads: [], page: 2, pageSize: 100 }],
      ['/threads?workflowId=workflow_2', undefined, { threads: [] }],
      ['/threads?participantId=participant_2', undefined, { threads: [] }],
      ['/threads?status=closed', undefined, { threads: [] }],
      [
        '/threads?pageSize=1&status=active&workflowId=workflow_1',
        undefined,
        { threads: [expect.anything()], pageSize: 1 },
      ],
    ],
    refused: () => [
      [
        '/threads?page=0&pageSize=101&status=new',
        undefined,
        [
          ['status', statusIssue],
          ['page', 'must be from 1 to 1000000'],
          ['pageSize', 'must be from 1 to 100'],
        ],
      ],
    ],
  },
  'GET /threads/:threadId': {
    request: ({ threadId }) => [`/threads/${threadId}`],
    answer: ({ thread, message }) => ({
      ...thread,
      messages: [message],
      messagesPage: { page: 1, pageSize: 100, hasMore: false },
    }),
    hasCursor: true,
    parameters: ({ threadId }) => [
      [
        `/threads/${threadId}?page=2&pageSize=500`,
        undefined,
        { messages: [], messagesPage: { page: 2, pageSize: 500, hasMore: false } },
      ],
    ],
    refused: ({ threadId }) => [
      [
        `/threads/${threadId}?page=a&pageSize=501`,
        undefined,
        [
          ['page', 'must be a whole number'],
          ['pageSize', 'must be from 1 to 500'],
        ],
      ],
    ],
    names: ['thread', (threadId) => [`/threads/${threadId}`]],
  },
  'GET /threads/:threadId/messages': {
    request: ({ threadId }) => [`/threads/${threadId}/messages`],
    answer: ({ message }) => ({ messages: [message], hasMore: false }),
    hasCursor: true,
    parameters: ({ threadId }) => [
      [`/threads/${threadId}/messages?after=1&limit=500`, undefined, { messages: [], hasMore: false }],
      [
        `/threads/${threadId}/messages?before=2`,
        undefined,
        { messages: [expect.anything()], hasMore: false },
      ],
    ],
    refused: ({ threadId }) => [
      [
        `/threads/${threadId}/messages?after=-1&before=x&limit=501`,
        undefined,
        [
          ['after', 'must be a whole number'],
          ['before', 'must be a whole number'],
          ['limit', 'must be from 1 to 500'],
        ],
      ],
    ],
    names: ['thread', (threadId) => [`/threads/${threadId}/messages`]],
  },
  'PUT /threads/:threadId': {
    request: ({ threadId }) => [`/threads/${threadId}`, { status: 'closed', metadata: { b: [2] } }],
    answer: ({ thread }) => ({ ...thread, status: 'closed', metadata: { b: [2] } }),
    refused: ({ threadId }) => [
      [`/threads/${threadId}`, {}, [['body', 'needs at least one of status and metadata']]],
      [
        `/threads/${threadId}`,
        { status: 'gone', metadata: 1 },
        [
          ['status', statusIssue],
          ['metadata', 'must be a JSON object'],
        ],
      ],
    ],
    names: ['thread', (threadId) => [`/threads/${threadId}`, { status: 'closed' }]],
  },
  'DELETE /threads/:threadId': {
    request: ({ threadId }) => [`/threads/${threadId}`],
    answer: ({ thread }) => ({ ...thread, status: 'archived' }),
    parameters: ({ threadId }) => [
      [`/threads/${threadId}?permanent=false`, undefined, { status: 'archived' }],
      [`/threads/${threadId}?permanent=true`, undefined, { id: threadId, deleted: true }],
    ],
    refused: ({ threadId }) => [
      [`/threads/${threadId}?permanent=1`, undefined, [['permanent', 'must be one of true, false']]],
    ],
    names: ['thread', (threadId) => [`/threads/${threadId}`]],
  },
  'POST /inbound': {
    request: () => ['/inbound', email],
    answer: ({ threadId }) => stored(threadId, 2),
    refused: () => [
      ['/inbound', {}, required('workflowId', 'participantId', 'channel', 'channelKey', 'content')],
    ],
    conflict: () => conflict('/inbound'),
  },
  'POST /outbound': {
    request: ({ threadId }) => ['/outbound', { threadId, content: { body: 'Hello' } }],
    answer: ({ threadId }) => stored(threadId, 2),
    parameters: ({ threadId }) => [
      ['/outbound', { ...email, content: { body: 'Hello' } }, { threadId, position: 2 }],
      ['/outbound', { ...email, participantId: 'new' }, { threadId: id('thread'), position: 1 }],
    ],
    refused: ({ threadId }) => [
      [
        '/outbound',
        {},
        [...required('content'), ['threadId', 'is required, or workflowId and participantId']],
      ],
      [
        '/outbound',
        { workflowId: 'workflow_1', participantId: 'nobody', content: {} },
        [
          ['channel', 'is required: no inbound message of the thread to take it from'],
          ['channelKey', 'is required: no inbound message of the thread to take it from'],
        ],
      ],
      [
        '/outbound',
        { threadId, content: {} },
        [['content', 'Content of the email channel needs subject or body']],
      ],
    ],
    names: ['thread', (threadId) => ['/outbound', { threadId, content: { body: 'Hello' } }]],
    conflict: () => conflict('/outbound'),
  },
  'POST /outbound/webhook': {
    request: () => ['/outbound/webhook', { url: NOWHERE, events: ['message.created'] }],
    answer: () => ({
      ...webhook(id('webhook'), ['message.created']),
      secret: expect.stringMatching(/^whsec_[\w+/]{43}=$/),
    }),
    refused: () => [
      ['/outbound/webhook', {}, required('url', 'events')],
      [
        '/outbound/webhook',
        { url: 'ftp://example.com', events: [], secret: 'short' },
        [
          ['events', 'must name at least one event'],
          ['secret', 'must have 16 to 255 characters'],
          ['url', 'must be an absolute http or https URL'],
        ],
      ],
    ],
  },
  'GET /outbound/webhook': {
    request: () => ['/outbound/webhook'],
    answer: ({ webhookId }) => ({ webhooks: [webhook(webhookId)] }),
    refused: () => [],
  },
  'GET /outbound/webhook/:id': {
    request: ({ webhookId }) => [`/outbound/webhook/${webhookId}`],
    answer: ({ webhookId }) => webhook(webhookId),
    refused: () => [],
    names: ['webhook', (webhookId) => [`/outbound/webhook/${webhookId}`]],
  },
  'DELETE /outbound/webhook/:id': {
    request: ({ webhookId }) => [`/outbound/webhook/${webhookId}`],
    answer: ({ webhookId }) => ({ id: webhookId, deleted: true }),
    refused: () => [],
    names: ['webhook', (webhookId) => [`/outbound/webhook/${webhookId}`]],
  },
  'GET /messages/:messageId': {
    request: ({ messageId }) => [`/messages/${messageId}`],
    answer: ({ message }) => message,
    hasCursor: true,
    refused: () => [],
    names: ['message', (messageId) => [`/messages/${messageId}`]],
  },
  'PUT /messages/:messageId/status': {
    request: ({ messageId }) => [`/messages/${messageId}/status`, { status: 'failed', details: { why: 1 } }],
    answer: ({ message }) => ({
      ...message,
      status: 'failed',
      logs: [...message.logs, { timestamp: time, event: 'failed', details: { why: 1 } }],
    }),
    parameters: ({ messageId }) => [
      [`/messages/${messageId}/status`, { status: 'delivered', details: null }, { status: 'delivered' }],
      [`/messages/${messageId}/status`, { status: 'read' }, { status: 'read' }],
    ],
    refused: ({ messageId }) => [
      [`/messages/${messageId}/status`, {}, [['status', 'must be one of delivered, read, failed']]],
      [
        `/messages/${messageId}/status`,
        { status: 'sent', details: 'none' },
        [
          ['status', 'must be one of delivered, read, failed'],
          ['details', 'must be a JSON object'],
        ],
      ],
    ],
    names: ['message', (messageId) => [`/messages/${messageId}/status`, { status: 'read' }]],
  },
  'GET /attachments/:attachmentId': {
    request: ({ attachmentId }) => [`/attachments/${attachmentId}`],
    answer: () => 'Hello',
    type: 'text/plain',
    refused: () => [],
    names: ['attachment', (attachmentId) => [`/attachments/${attachmentId}`]],
  },
  'GET /events': {
    request: () => ['/events'],
    answer: () => expect.stringMatching(/^retry: 2000\nid: [\w-]+\n\n$/),
    type: 'text/event-stream; charset=utf-8',
    parameters: () => [
      [
        '/events?after=start&types=message.created&workflowId=workflow_1',
        undefined,
        expect.stringContaining('retry: '),
      ],
    ],
    refused: () => [['/events?after=x', undefined, [['after', 'is not a cursor of this log']]]],
  },
};

const methodOf = (route: string) => route.split(' ')[0]!;
const send = (client: Client, route: string, [path, body]: Case, headers: Record<string, string> = {}) =>
  client.rest(methodOf(route), path, body, headers);

/** Equal, and with the members in the same order; what callers stored themselves may come back in another one. */
function expectExactly(actual: unknown, expected: unknown) {
  expect(actual).toEqual(expected);
  expect(orderOf(actual)).toEqual(orderOf(expected));
}
const OWN = new Set(['content', 'metadata', 'details']);
const orderOf = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(orderOf);
  if (typeof value !== 'object' || value === null || '$$typeof' in value) return null;
  return Object.entries(value).map(([key, member]) => [key, OWN.has(key) ? null : orderOf(member)]);
};

function expectError(answer: Answer, status: number, code: string, details?: [string, string][]) {
  expectExactly(answer.body, {
    error: {
      code,
      message: expect.stringMatching(/./),
      ...(details && { details: details.map(([field, issue]) => ({ field, issue })) }),
    },
  });
  expect([answer.status, answer.headers.get('content-type')]).toEqual([
    status,
    'application/json; charset=utf-8',
  ]);
  expect(answer.headers.get('x-request-id')).toMatch(/./);
}

describe('the table', () => {
  const routes = restRoutes.map(({ method, path }) => `${method} ${path.slice(REST.length)}`);

  it('has a row for every route', () => {
    expect(Object.keys(rows).sort()).toEqual(routes.sort());
  });

  it('has a case for every error that a route has of its own', () => {
    for (const { method, path, errors = [] } of restRoutes) {
      const route = `${method} ${path.slice(REST.length)}`;
      const { names, conflict } = rows[route]!;
      const held = [...(names ? [404] : []), ...(conflict ? [409] : []), ...(takesBody(route) ? [413] : [])];
      expect([route, [...errors].sort()]).toEqual([route, held]);
    }
  });
});

const takesBody = (route: string) => /^(POST|PUT)/.test(route);

describe.each(Object.entries(rows))('%s', (route, row) => {
  it('answers as section 5 says', async () => {
    const given = await furnished();
    const before = (await given.client.data('{ eventCursor }')).eventCursor;
    const { status, headers, body } = await send(given.client, route, row.request(given), {
      'x-request-id': 'my:request-1',
    });
    expectExactly(body, row.answer(given));
    expect([status, headers.get('content-type')]).toEqual([
      200,
      row.type ?? 'application/json; charset=utf-8',
    ]);
    expect(headers.get('x-request-id')).toBe('my:request-1');
    expect(headers.get('x-event-cursor')).toBe(row.hasCursor ? before : null);
  });

  it('heeds its parameters', async () => {
    const given = await furnished();
    for (const [path, body, shows] of row.parameters?.(given) ?? []) {
      const answer = await send(given.client, route, [path, body]);
      expect(answer.status).toBe(200);
      if (typeof answer.body === 'string') expect(answer.body).toEqual(shows);
      else expect(answer.body).toMatchObject(shows as object);
    }
  });

  it('refuses what is at fault with 400, naming every fault', async () => {
    const given = await furnished();
    for (const [path, body, details] of row.refused(given)) {
      expectError(await send(given.client, route, [path, body]), 400, 'invalid_request', details);
    }
  });

  it('refuses with 401 who has no key', async () => {
    const given = await furnished();
    const nobody = app.client('parley_nobody');
    expectError(await send(nobody, route, row.request(given)), 401, 'unauthorized');
  });

  if (row.names)
    it('answers 404 to an id that is absent, malformed or of something else', async () => {
      const { client, threadId, webhookId } = await furnished();
      const [noun, path] = row.names!;
      const ofSomethingElse = noun === 'thread' ? webhookId : threadId;
      for (const other of [encodeId(noun, newId()), `${noun}_x`, ofSomethingElse]) {
        const answer = await send(client, route, path(other));
        expectError(answer, 404, 'not_found');
        expect(answer.body.error.message.toLowerCase()).toBe(`${noun} not found`);
      }
    });

  if (row.conflict)
    it('answers 409 to another message under a used key', async () => {
      const { client } = await furnished();
      const [first, second] = row.conflict!();
      expect((await send(client, route, first)).status).toBe(200);
      expectError(await send(client, route, second), 409, 'conflict', [
        ['idempotencyKey', 'was used before with a different message'],
      ]);
    });

  if (takesBody(route))
    it('refuses with 413 a body that is too large', async () => {
      const given = await furnished();
      const [path] = row.request(given);
      const large = `{"metadata":"${'x'.repeat(MAX_BODY_BYTES)}"}`;
      expectError(await send(given.client, route, [path, large]), 413, 'payload_too_large', [
        ['body', 'is larger than the server accepts'],
      ]);
    });

  it('refuses other methods with 405 and says which there are', async () => {
    const given = await furnished();
    const path = row.request(given)[0];
    const template = route.split(' ')[1];
    const allowed = Object.keys(rows)
      .filter((other) => other.split(' ')[1] === template)
      .map(methodOf);
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      if (allowed.includes(method)) continue;
      const answer = await given.client.rest(method, path);
      expectError(answer, 405, 'method_not_allowed');
      expect(answer.headers.get('allow')?.split(', ').sort()).toEqual(allowed.sort());
    }
  });
});

it('every route answers 429 to a key that has used up its limit, and to that one only', async () => {
  const LIMIT = 40;
  const limited = await startApp({ rateLimitPerMinute: LIMIT });
  try {
    const given = await furnished(limited);
    const greedy = await limited.keyFor(given.client, ['conversations:read']);
    for (let n = 0; n < LIMIT; n++) expect((await greedy.rest('GET', '/threads')).status).toBe(200);
    for (const [route, row] of Object.entries(rows)) {
      const answer = await send(greedy, route, row.request(given));
      expectError(answer, 429, 'rate_limited');
      expect(answer.headers.get('retry-after')).toMatch(/^([1-9]|[1-5]\d|60)$/);
    }
    expect((await given.client.rest('GET', '/threads')).status).toBe(200);
  } finally {
    await limited.close();
  }
});

it('every route answers 500 when the database fails it, says nothing of why, and logs the cause', async () => {
  let logged = '';
  const log = pino(
    { level: 'error' },
    new Writable({
      write(chunk, _encoding, done) {
        logged += chunk;
        done();
      },
    }),
  );
  const broken = await startApp({}, {}, log);
  try {
    const given = await furnished(broken);
    const tables = ['conversation_thread', 'conversation_message', 'conversation_attachment', 'webhook'];
    for (const table of [...tables, 'tenant_counter']) {
      await query(broken.databaseUrl, `ALTER TABLE ${table} RENAME TO broken_${table}`);
    }
    for (const [index, [route, row]] of Object.entries(rows).entries()) {
      const requestId = `broken-${index}`;
      const answer = await send(given.client, route, row.request(given), { 'x-request-id': requestId });
      expectError(answer, 500, 'internal_error');
      expect(answer.body.error.message).toBe(
        `Something went wrong on our side; the request id is ${requestId}`,
      );
      const line = logged.split('\n').find((text) => text.includes(`"requestId":"${requestId}"`));
      expect(line).toMatch(/does not exist/);
    }
  } finally {
    await broken.close();
  }
});
