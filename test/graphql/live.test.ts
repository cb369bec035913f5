import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { loadThenSubscribe } from '../support/load-then-subscribe.js';
import { query as sql } from '../support/query.js';
import { eventually } from '../support/receiver.js';
import { connect, subscribe } from '../support/subscriber.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const send = async (client: Client, workflowId = 'w', participantId = 'p') =>
  (
    await client.rest('POST', '/inbound', {
      workflowId,
      participantId,
      channel: 'chat',
      channelKey: 'k',
      content: { body: 'Hello' },
    })
  ).body as { threadId: string; messageId: string };

const EVENT = `sequence cursor type occurredAt threadId messageId workflowConversationId data
  thread { id status } message { id content } workflowConversation { id }`;

interface EventPage {
  // biome-ignore lint/suspicious/noExplicitAny: tests look at events freely
  events: any[];
  nextCursor: string;
  hasMore: boolean;
}

const eventsOf = async (client: Client, variables: object = {}): Promise<EventPage> =>
  (
    await client.data(
      `query ($after: String, $filter: EventFilter, $first: Int) {
        events(after: $after, filter: $filter, first: $first) { events { ${EVENT} } nextCursor hasMore }
      }`,
      variables,
    )
  ).events;

const follow = (client: Client, query: string, variables: object = {}) =>
  subscribe(connect(app.url, client.apiKey), query, variables);

/** Two threads with messages, a read message, a closed thread, a conversation, and a thread that is gone. */
async function history() {
  const client = await app.tenant();
  const kept = await send(client);
  const gone = await send(client, 'w', 'gone');
  await client.rest('PUT', `/messages/${kept.messageId}/status`, { status: 'read' });
  await client.rest('PUT', `/messages/${gone.messageId}/status`, { status: 'read' });
  await client.rest('PUT', `/threads/${kept.threadId}`, { status: 'closed' });
  await client.rest('PUT', `/threads/${gone.threadId}`, { status: 'closed' });
  const { createAgentProduct } = await client.data(
    'mutation { createAgentProduct(input: {name: "x"}) { agentProduct { id } } }',
  );
  const agentProductId = createAgentProduct.agentProduct.id;
  const { createWorkflowConversation } = await client.data(
    `mutation { createWorkflowConversation(input: {agentProductId: ${agentProductId}, workflowId: "other"}) { workflowConversation { id } } }`,
  );
  await client.rest('DELETE', `/threads/${gone.threadId}?permanent=true`);
  return { client, kept, gone, conversationId: createWorkflowConversation.workflowConversation.id };
}

const TYPES = [
  ...['THREAD_CREATED', 'MESSAGE_CREATED', 'THREAD_CREATED', 'MESSAGE_CREATED'],
  ...['MESSAGE_UPDATED', 'MESSAGE_READ', 'MESSAGE_UPDATED', 'MESSAGE_READ'],
  ...['THREAD_UPDATED', 'THREAD_UPDATED', 'CONVERSATION_CREATED', 'THREAD_DELETED'],
];

describe('the log', () => {
  it('is read as it is followed, in order, with what is gone as null beside its id', async () => {
    const { client, kept, gone, conversationId } = await history();
    const page = await eventsOf(client, { first: 100 });
    expect(page.events.map(({ type }) => type)).toEqual(TYPES);
    expect(page.events.map(({ sequence }) => sequence)).toEqual(TYPES.map((_, index) => index + 1));
    expect(page.hasMore).toBe(false);
    const { eventCursor } = await client.data('{ eventCursor }');
    expect(page.nextCursor).toBe(eventCursor);
    const [first, second, third, fourth] = page.events;
    expect(first).toMatchObject({
      threadId: kept.threadId,
      thread: { id: kept.threadId, status: 'CLOSED' },
      message: null,
    });
    expect(second).toMatchObject({
      thread: { id: kept.threadId },
      message: { id: kept.messageId, content: { body: 'Hello' } },
      data: { direction: 'inbound', status: 'sent' },
    });
    expect(third).toMatchObject({ threadId: gone.threadId, thread: null });
    expect(fourth).toMatchObject({
      threadId: gone.threadId,
      messageId: gone.messageId,
      thread: null,
      message: null,
    });
    expect(page.events[10]).toMatchObject({
      workflowConversationId: conversationId,
      workflowConversation: { id: conversationId },
    });
    expect(page.events[11].data).toMatchObject({ status: 'closed', messageCount: 1 });

    const live = await follow(client, `subscription { events(after: "start") { ${EVENT} } }`);
    const followed = (await live.waitFor(TYPES.length)).map(({ data }) => data.events);
    expect(followed).toEqual(page.events);
  });

  it('is paged by cursor, and followed behind the last', async () => {
    const { client } = await history();
    const all = await eventsOf(client, { first: 100 });
    const paged = [];
    for (let after: string | null = 'start'; after !== null; ) {
      const page: EventPage = await eventsOf(client, { first: 5, after });
      paged.push(...page.events);
      after = page.hasMore ? page.nextCursor : null;
    }
    expect(paged).toEqual(all.events);
    expect((await eventsOf(client, { after: all.nextCursor })).events).toEqual([]);
    const live = await follow(
      client,
      'subscription ($after: String) { events(after: $after) { sequence } }',
      {
        after: all.nextCursor,
      },
    );
    await send(client, 'new');
    const sequences = (await live.waitFor(2)).map(({ data }) => data.events.sequence);
    expect(sequences).toEqual([TYPES.length + 1, TYPES.length + 2]);
  });

  it('shows only what the filter asks for, read or followed', async () => {
    const { client, kept } = await history();
    await send(client, 'other');
    const filters: [object, string[]][] = [
      [{ types: ['MESSAGE_READ', 'THREAD_DELETED'] }, ['MESSAGE_READ', 'MESSAGE_READ', 'THREAD_DELETED']],
      [
        { threadId: kept.threadId },
        ['THREAD_CREATED', 'MESSAGE_CREATED', 'MESSAGE_UPDATED', 'MESSAGE_READ', 'THREAD_UPDATED'],
      ],
      [{ workflowId: 'other' }, ['CONVERSATION_CREATED', 'THREAD_CREATED', 'MESSAGE_CREATED']],
      [{ workflowId: 'other', types: ['MESSAGE_CREATED'] }, ['MESSAGE_CREATED']],
      [{ threadId: 'malformed' }, []],
    ];
    for (const [filter, types] of filters) {
      expect((await eventsOf(client, { filter })).events.map(({ type }) => type)).toEqual(types);
      const live = await follow(
        client,
        'subscription ($filter: EventFilter) { events(filter: $filter, after: "start") { type } }',
        { filter },
      );
      expect((await live.waitFor(types.length)).map(({ data }) => data.events.type)).toEqual(types);
    }
  });

  it.each([
    ['first', { first: 0 }],
    ['first', { first: -1 }],
    ['first', { first: 101 }],
    ['after', { after: 'garbage' }],
    ['after', { after: '' }],
    ['types', { filter: { types: [] } }],
    ['workflowId', { filter: { workflowId: 'x'.repeat(129) } }],
  ])('refuses a wrong %s by name: %j', async (field, variables) => {
    const { body } = await (await app.tenant()).graphql(
      'query ($after: String, $filter: EventFilter, $first: Int) { events(after: $after, filter: $filter, first: $first) { hasMore } }',
      variables,
    );
    expect(body.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', details: [{ field }] } }]);
  });

  it('is looked through in parts where few events match', async () => {
    const client = await app.tenant();
    await send(client);
    await sql(
      app.databaseUrl,
      `WITH counted AS (UPDATE tenant_counter SET last_sequence = last_sequence + 25000 WHERE tenant_id = $1 RETURNING last_sequence)
       INSERT INTO event (tenant_id, sequence, type, occurred_at)
       SELECT $1, last_sequence - 25000 + n, 'run.updated', now() FROM counted, generate_series(1, 25000) AS n`,
      [client.tenantId],
    );
    await send(client);
    const pages: EventPage[] = [];
    for (let after: string | null = null; ; after = pages.at(-1)!.nextCursor) {
      pages.push(await eventsOf(client, { after, filter: { types: ['MESSAGE_CREATED'] } }));
      if (!pages.at(-1)!.hasMore) break;
    }
    expect(pages.map(({ events }) => events.length)).toEqual([1, 0, 1]);
  });
});

describe('following', () => {
  it('brings what comes live to those who asked for its thread, its workflow or everything, and to nobody else', async () => {
    const client = await app.tenant();
    const [one, two] = [await send(client, 'w', 'one'), await send(client, 'w', 'two')];
    const query = `subscription ($filter: EventFilter, $after: String) {
      events(filter: $filter, after: $after) { sequence }
    }`;
    const { eventCursor: after } = await client.data('{ eventCursor }');
    const filters = [{ threadId: one.threadId }, { threadId: two.threadId }, { workflowId: 'w' }, {}];
    const lives = await Promise.all(filters.map((filter) => follow(client, query, { filter, after })));
    // The first comes to all by now; what follows is live.
    await send(client, 'w', 'one');
    await send(client, 'w', 'two');
    await Promise.all(lives.map((live) => live.waitFor(1)));
    for (const participant of ['one', 'two', 'one']) await send(client, 'w', participant);
    await send(client, 'other', 'one');
    const sequences = await Promise.all(
      lives.map(async (live, index) =>
        (await live.waitFor([3, 2, 5, 7][index]!)).map(({ data }) => data.events.sequence),
      ),
    );
    expect(sequences).toEqual([
      [5, 7, 9],
      [6, 8],
      [5, 6, 7, 8, 9],
      [5, 6, 7, 8, 9, 10, 11],
    ]);
  });

  it('brings messages with their logs and contents, more of them than one read has room for, small ones between', async () => {
    const client = await app.tenant();
    const sizes = [...Array.from({ length: 10 }, () => [1_500_000, 10]).flat(), 10];
    for (const [index, size] of sizes.entries()) {
      const message = { workflowId: 'w', participantId: 'p', channel: 'chat', channelKey: 'k' };
      const content = { body: `${index} `.padEnd(size, 'x') };
      expect((await client.rest('POST', '/inbound', { ...message, content })).status).toBe(200);
    }
    const live = await follow(
      client,
      'subscription { messageAdded(after: "start") { message { position content logs { event } } } }',
    );
    const messages = (await live.waitFor(sizes.length)).map(({ data }) => data.messageAdded.message);
    expect(messages.map(({ position }) => position)).toEqual(sizes.map((_, index) => index + 1));
    for (const [index, { content, logs }] of messages.entries()) {
      expect([content.body.length, Number.parseInt(content.body, 10)]).toEqual([sizes[index], index]);
      expect(logs).toEqual([{ event: 'CREATED' }]);
    }
  });

  it('messages that were updated skips those that are gone, and tells each move once', async () => {
    const { client, kept } = await history();
    const second = await send(client);
    await client.rest('PUT', `/messages/${second.messageId}/status`, { status: 'delivered' });
    const live = await follow(
      client,
      'subscription { messageUpdated(after: "start") { sequence message { id status logs { event } } } }',
    );
    const seen = (await live.waitFor(2)).map(({ data }) => data.messageUpdated.message);
    expect(seen).toMatchObject([
      { id: kept.messageId, status: 'READ' },
      { id: second.messageId, status: 'DELIVERED' },
    ]);
    expect(seen[1].logs.map(({ event }: { event: string }) => event)).toEqual(['CREATED', 'DELIVERED']);
    await client.rest('PUT', `/messages/${second.messageId}/status`, { status: 'read' });
    await live.waitFor(3);
    expect(live.events).toHaveLength(3);
  });

  it('threads tells of those that are created too, skips those that are gone, and takes a thread or a workflow', async () => {
    const { client, kept } = await history();
    const other = await send(client, 'another');
    const query = `subscription ($threadId: ID, $workflowId: String) {
      threadUpdated(threadId: $threadId, workflowId: $workflowId, after: "start") { thread { id status unreadCount } }
    }`;
    const idsOf = async (variables: object, count: number) =>
      (await (await follow(client, query, variables)).waitFor(count)).map(
        ({ data }) => data.threadUpdated.thread.id,
      );
    expect(await idsOf({}, 3)).toEqual([kept.threadId, kept.threadId, other.threadId]);
    expect(await idsOf({ threadId: kept.threadId }, 2)).toEqual([kept.threadId, kept.threadId]);
    expect(await idsOf({ workflowId: 'another' }, 1)).toEqual([other.threadId]);
    const live = await follow(client, query, { threadId: kept.threadId });
    await live.waitFor(2);
    await send(client);
    const [, , reactivated] = await live.waitFor(3);
    expect(reactivated.data.threadUpdated.thread).toEqual({
      id: kept.threadId,
      status: 'ACTIVE',
      unreadCount: 2,
    });
  });

  it('answers a wrong filter with its name', async () => {
    const client = await app.tenant();
    const live = await follow(client, 'subscription { events(filter: {types: []}) { type } }');
    await eventually(() => live.events.length > 0);
    expect(live.events[0].errors).toMatchObject([
      { extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'types' }] } },
    ]);
  });

  it('from a cursor that was read before the page misses nothing that is written meanwhile', async () => {
    for (let round = 0; round < 3; round++) await loadThenSubscribe(app, await app.tenant(), 300);
  }, 120_000);
});
