import { request as httpRequest, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventTypes } from '../../src/events/append.js';
import { encodeId, newId } from '../../src/ids.js';
import { type Client, REST, startApp, type TestApp } from '../support/app.js';
import { type EventStream, follow, type ServerSentEvent } from '../support/event-stream.js';
import { eventually } from '../support/receiver.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

const message = {
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'chat',
  channelKey: 'key_1',
  content: { body: 'Hello' },
};

async function receive(client: Client, change: object = {}) {
  const { status, body } = await client.rest('POST', '/inbound', { ...message, ...change });
  expect(status).toBe(200);
  return body as { threadId: string; messageId: string; createdAt: string };
}

const typesOf = (events: readonly ServerSentEvent[]) => events.map(({ event }) => event);
const sequencesOf = (events: readonly ServerSentEvent[]) => events.map(({ data }) => data.sequence);
const cursorOf = async (client: Client) =>
  (await client.rest('GET', '/threads')).headers.get('x-event-cursor')!;

describe('an event stream', () => {
  it('begins with an empty event that carries the present cursor, and a time to reconnect after', async () => {
    const client = await app.tenant();
    await receive(client);
    const response = await fetch(`${app.url}${REST}/events`, {
      headers: { authorization: `Bearer ${client.apiKey}` },
    });
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-request-id': expect.stringMatching(/./),
    });
    const reader = response.body!.getReader();
    const { value } = await reader.read();
    await reader.cancel();
    expect(new TextDecoder().decode(value)).toBe(`retry: 2000\nid: ${await cursorOf(client)}\n\n`);
  });

  it('gives every event its cursor, its type and the object in its REST shape', async () => {
    const client = await app.tenant();
    const stream = await follow(app.url, client);
    const { threadId, messageId } = await receive(client);
    await client.rest('PUT', `/messages/${messageId}/status`, { status: 'read', details: { by: 'them' } });
    const thread = (await client.rest('PUT', `/threads/${threadId}`, { metadata: { a: 1 } })).body;
    const stored = (await client.rest('GET', `/messages/${messageId}`)).body;
    const { createWorkflowConversation } = await client.data(
      `mutation ($productId: Int!) {
        createWorkflowConversation(input: {agentProductId: $productId, configuration: {running: true}}) {
          workflowConversation { id workflowId createdAt updatedAt }
        }
      }`,
      {
        productId: (
          await client.data('mutation { createAgentProduct(input: {name: "p"}) { agentProduct { id } } }')
        ).createAgentProduct.agentProduct.id,
      },
    );
    const conversation = createWorkflowConversation.workflowConversation;

    const events = await stream.waitFor(6);
    const ofThread = {
      workflowId: 'workflow_1',
      participantId: 'participant_1',
      threadId,
      workflowConversationId: null,
      occurredAt: expect.stringMatching(TIME),
    };
    const active = { status: 'active', metadata: {} };
    const moved = { direction: 'inbound', status: 'read' };
    expect(events.map(({ data }) => data)).toEqual([
      {
        sequence: 1,
        type: 'thread.created',
        ...ofThread,
        messageId: null,
        data: active,
        thread: expect.anything(),
      },
      {
        sequence: 2,
        type: 'message.created',
        ...ofThread,
        messageId,
        data: { direction: 'inbound', status: 'sent' },
        message: expect.objectContaining({ id: messageId, logs: expect.any(Array) }),
      },
      { sequence: 3, type: 'message.updated', ...ofThread, messageId, data: moved, message: stored },
      { sequence: 4, type: 'message.read', ...ofThread, messageId, data: moved, message: stored },
      {
        sequence: 5,
        type: 'thread.updated',
        ...ofThread,
        messageId: null,
        data: { status: 'active', metadata: { a: 1 } },
        thread,
      },
      {
        sequence: 6,
        type: 'conversation.created',
        occurredAt: expect.stringMatching(TIME),
        workflowId: conversation.workflowId,
        participantId: null,
        threadId: null,
        messageId: null,
        workflowConversationId: conversation.id,
        data: null,
        workflowConversation: {
          id: conversation.id,
          tenantId: client.tenantId,
          workflowId: conversation.workflowId,
          agentProductId: expect.any(Number),
          userId: null,
          configuration: { running: true },
          running: true,
          createdAt: conversation.createdAt,
          updatedAt: conversation.updatedAt,
        },
      },
    ]);
    expect(typesOf(events)).toEqual(events.map(({ data }) => data.type));
    expect(events.at(-1)!.id).toBe(await cursorOf(client));
    // Each id is a cursor: the one behind it is the next event.
    for (const [index, { id }] of events.entries()) {
      const rest = await follow(app.url, client, `?after=${id}`);
      expect(rest.opening.id).toBe(id);
      expect(sequencesOf(await rest.waitFor(5 - index))).toEqual([1, 2, 3, 4, 5, 6].slice(index + 1));
      rest.stop();
    }
  });

  it('begins now, or behind the cursor of `after`, or with `start` at the oldest event', async () => {
    const client = await app.tenant();
    await receive(client);
    const cursor = await cursorOf(client);
    await receive(client);
    const [now, after, start] = await Promise.all([
      follow(app.url, client),
      follow(app.url, client, `?after=${cursor}`),
      follow(app.url, client, '?after=start'),
    ]);
    await receive(client);
    expect(sequencesOf(await now.waitFor(1))).toEqual([4]);
    expect(sequencesOf(await after.waitFor(2))).toEqual([3, 4]);
    expect(sequencesOf(await start.waitFor(4))).toEqual([1, 2, 3, 4]);
    expect((await follow(app.url, client, `?after=${start.opening.id}`)).opening.id).toBe(start.opening.id);
    expect(
      sequencesOf(await (await follow(app.url, client, `?after=${start.opening.id}`)).waitFor(4)),
    ).toEqual([1, 2, 3, 4]);
  });

  it('goes by Last-Event-ID before it goes by `after`; an empty one is none', async () => {
    const client = await app.tenant();
    await receive(client);
    const cursor = await cursorOf(client);
    await receive(client);
    const byHeader = await follow(app.url, client, '?after=start', { 'last-event-id': cursor });
    expect(sequencesOf(await byHeader.waitFor(1))).toEqual([3]);
    const byQuery = await follow(app.url, client, '?after=start', { 'last-event-id': '' });
    expect(sequencesOf(await byQuery.waitFor(3))).toEqual([1, 2, 3]);
  });

  it('is narrowed by types, thread and workflow, all at once', async () => {
    const client = await app.tenant();
    const a = await receive(client, { workflowId: 'a' });
    await receive(client, { workflowId: 'b' });
    await receive(client, { workflowId: 'a', participantId: 'other' });
    await client.rest('PUT', `/threads/${a.threadId}`, { status: 'closed' });
    const none = encodeId('thread', newId());
    const found = await Promise.all(
      [
        'types=message.created',
        'types=thread.updated,thread.created',
        `threadId=${a.threadId}`,
        'workflowId=a',
        `workflowId=a&threadId=${a.threadId}&types=message.created,message.created`,
        `workflowId=b&threadId=${a.threadId}`,
        `threadId=${none}`,
        'threadId=nonsense',
        'workflowId=A',
      ].map(async (query) => {
        const stream = await follow(app.url, client, `?after=start&${query}`);
        return [query, stream] as const;
      }),
    );
    // Live events go through the same filter, and what comes last shows that nothing else came before.
    await receive(client, { workflowId: 'b' });
    await receive(client, { workflowId: 'a' });
    const expected = [
      [2, 4, 6, 8, 10],
      [1, 3, 5, 7, 9],
      [1, 2, 7, 9, 10],
      [1, 2, 5, 6, 7, 9, 10],
      [2, 10],
      [],
      [],
      [],
      [],
    ];
    for (const [index, [query, stream]] of found.entries()) {
      await stream.waitFor(expected[index]!.length);
      expect([query, sequencesOf(stream.events)]).toEqual([query, expected[index]]);
    }
  });

  it.each<[string, Record<string, string>, string[]]>([
    ['?after=garbage', {}, ['after']],
    ['?after=', {}, ['after']],
    ['?after=c3RhcnQ', {}, ['after']],
    [`?after=${'x'.repeat(10_000)}`, {}, ['after']],
    ['?after=start&after=start', {}, ['after']],
    ['', { 'last-event-id': 'garbage' }, ['Last-Event-ID']],
    ['?after=start', { 'last-event-id': 'start?' }, ['Last-Event-ID']],
    ['?types=message.made', {}, ['types[0]']],
    ['?types=message.created,,MESSAGE.CREATED', {}, ['types[1]', 'types[2]']],
    ['?types=', {}, ['types[0]']],
    ['?types=message.created&types=message.read', {}, ['types']],
    ['?threadId=a&threadId=b&workflowId=a&workflowId=b', {}, ['threadId', 'workflowId']],
    ['?workflowId=%00', {}, ['workflowId']],
    [`?workflowId=${'x'.repeat(129)}`, {}, ['workflowId']],
  ])('is refused when it is asked for with %s %j', async (query, headers, fields) => {
    const client = await app.tenant();
    const { status, body } = await client.rest('GET', `/events${query}`, undefined, headers);
    expect([status, body.error.code]).toEqual([400, 'invalid_request']);
    expect(body.error.details.map(({ field }: { field: string }) => field)).toEqual(fields);
    if (fields[0]?.startsWith('types[')) {
      expect(body.error.details[0].issue).toBe(`must be one of ${eventTypes.join(', ')}`);
    }
  });

  it('takes no cursor of another tenant, none that lies ahead of its log, and none that was changed', async () => {
    const [client, other] = [await app.tenant(), await app.tenant()];
    await receive(client);
    await receive(other);
    const ahead = Buffer.from(`${client.tenantId}:3`).toString('base64url');
    const padded = `${await cursorOf(client)}=`;
    const broken = `${await cursorOf(client)}%0A`;
    for (const cursor of [await cursorOf(other), ahead, padded, broken]) {
      const { status, body } = await client.rest('GET', `/events?after=${cursor}`);
      expect([status, body.error.details]).toEqual([
        400,
        [{ field: 'after', issue: 'is not a cursor of this log' }],
      ]);
    }
  });

  it('tells of a deleted thread as it was last, and of what is gone by its ids', async () => {
    const client = await app.tenant();
    const { threadId, messageId } = await receive(client);
    const last = (
      await client.rest('PUT', `/threads/${threadId}`, { status: 'closed', metadata: { kept: [1] } })
    ).body;
    await client.rest('DELETE', `/threads/${threadId}?permanent=true`);
    const stream = await follow(app.url, client, '?after=start');
    const [created, stored, updated, deleted] = (await stream.waitFor(4)).map(({ data }) => data);
    expect(deleted).toMatchObject({ type: 'thread.deleted', threadId, thread: last });
    expect(deleted.data).toMatchObject({ messageCount: 1, status: 'closed', metadata: { kept: [1] } });
    expect(stored).toMatchObject({ type: 'message.created', threadId, messageId, message: null });
    for (const event of [created, updated]) expect(event).toMatchObject({ threadId, thread: null });
  });

  it('goes on after a lost connection without a gap and without a repeat, while many write', async () => {
    const client = await app.tenant();
    const WRITERS = 8;
    const MESSAGES_EACH = 25;
    const writing = Promise.all(
      Array.from({ length: WRITERS }, async (_, writer) => {
        for (let n = 0; n < MESSAGES_EACH; n++) await receive(client, { participantId: `p${writer}` });
      }),
    );
    const total = WRITERS * MESSAGES_EACH + WRITERS;
    const seen: number[] = [];
    let lastId = 'start';
    let connections = 0;
    while (seen.length < total) {
      const stream: EventStream = await follow(app.url, client, '', { 'last-event-id': lastId });
      const wanted = Math.min(1 + (connections++ % 40), total - seen.length);
      await stream.waitFor(wanted);
      stream.stop();
      // What came beyond the wanted ones counts as lost on the way.
      const kept = stream.events.slice(0, wanted);
      seen.push(...sequencesOf(kept));
      lastId = kept.at(-1)!.id;
    }
    await writing;
    expect(seen).toEqual(Array.from({ length: total }, (_, index) => index + 1));
    expect(connections).toBeGreaterThan(10);
  });

  it('ends when its key is revoked, without another event', async () => {
    const client = await app.tenant();
    const { createApiKey } = await client.data(
      'mutation { createApiKey(input: {name: "reader", scopes: ["conversations:read"]}) { apiKey { id } secret } }',
    );
    const reader = app.client(createApiKey.secret, client.tenantId);
    const stream = await follow(app.url, reader);
    await receive(client);
    await stream.waitFor(2);
    await client.data('mutation ($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { id } } }', {
      id: createApiKey.apiKey.id,
    });
    await eventually(async () => (await reader.rest('GET', '/threads')).status === 401);
    await receive(client);
    await stream.ended;
    expect(stream.events).toHaveLength(2);
    expect((await reader.rest('GET', '/events')).status).toBe(401);
  });

  it('ends at a shutdown, which it does not hold up', async () => {
    const own = await startApp();
    const streams = await Promise.all([
      follow(own.url, own.operator),
      follow(own.url, own.operator, '?after=start'),
    ]);
    await receive(own.operator);
    await Promise.all(streams.map((stream) => stream.waitFor(2)));
    const startedAt = performance.now();
    await own.close();
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await Promise.all(streams.map(({ ended }) => ended));
  });

  it('that nobody reads holds up nobody, and is complete when it is read after all', async () => {
    const client = await app.tenant();
    const MESSAGES = 60;
    const body = 'x'.repeat(500_000);
    const lazy = await openWithoutReading(client);
    const eager = await follow(app.url, client, '?types=message.created');
    for (let n = 0; n < MESSAGES; n++) {
      await receive(client, { content: { body } });
      const sentAt = performance.now();
      await eager.waitFor(n + 1);
      expect(performance.now() - sentAt).toBeLessThan(2_000);
    }
    // 30 MB wait for the lazy one, far more than sockets hold; the process keeps none of it.
    expect(await sequencesOfStream(lazy, MESSAGES + 1)).toEqual(
      Array.from({ length: MESSAGES + 1 }, (_, index) => index + 1),
    );
  });
});

function openWithoutReading({ apiKey }: Client): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    httpRequest(`${app.url}${REST}/events?after=start`, { headers: { authorization: `Bearer ${apiKey}` } })
      .on('response', (response) => resolve(response.pause()))
      .on('error', reject)
      .end();
  });
}

/** Reads an answer until it has brought so many events. */
async function sequencesOfStream(response: IncomingMessage, count: number): Promise<number[]> {
  const found: number[] = [];
  let line = '';
  for await (const chunk of response.setEncoding('utf8')) {
    const lines = (line + chunk).split('\n');
    line = lines.pop() ?? '';
    for (const text of lines) if (text.startsWith('data: ')) found.push(JSON.parse(text.slice(6)).sequence);
    if (found.length >= count) {
      response.destroy();
      return found;
    }
  }
  throw new Error('The stream ended too early');
}
