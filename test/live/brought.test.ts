import { randomInt } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { eventually } from '../support/receiver.js';
import { connect, type Subscriber, subscribe } from '../support/subscriber.js';

/* A process hands out the messages that it takes in without reading them from the log. Only the time may tell. */

let app: TestApp;
/** On the same database, for what others write. */
let other: TestApp;
beforeAll(async () => {
  app = await startApp();
  other = await startApp({ databaseUrl: app.databaseUrl });
});
afterAll(async () => {
  await other.close();
  await app.close();
});

const EVENT = `sequence cursor type occurredAt threadId messageId data
  thread { id status metadata }
  message {
    id position direction channel channelKey content status metadata createdAt
    logs { timestamp event details }
  }`;

/** Resolves when the subscription stands: what is written from then on comes live. */
async function follow({ url }: TestApp, client: Client, after: string | null = null): Promise<Subscriber> {
  const subscriber = await subscribe(
    connect(url, client.apiKey),
    `subscription ($after: String) { events(after: $after) { ${EVENT} } }`,
    { after },
  );
  if (after !== null) return subscriber;
  await eventually(async () => {
    await receive(client, { content: { body: 'Are you there?' } });
    expect(subscriber.errors).toEqual([]);
    return subscriber.events.length > 0;
  });
  return subscriber;
}

const eventsOf = ({ events }: Subscriber) => events.map(({ data }) => data.events);

const receive = (client: Client, message: object = {}) =>
  post(client, '/inbound', {
    workflowId: 'w',
    participantId: 'p',
    channel: 'chat',
    channelKey: 'k',
    content: { body: 'Hello' },
    ...message,
  });

async function post(client: Client, path: string, message: object) {
  const answer = await client.rest('POST', path, message);
  expect(answer.status).toBe(200);
  return answer.body as { threadId: string; messageId: string };
}

it('a message takes no statement to reach those who follow it where it came in', async () => {
  const client = await app.tenant();
  const live = await follow(app, client);
  const before = live.events.length;
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  const start = performance.now();
  try {
    for (let n = 1; n <= 30; n++) {
      await receive(client);
      await live.waitFor(before + n);
    }
    const reads = spy.mock.calls.filter(([statement]) => {
      const { text = '', values = [] } = statement as unknown as { text?: string; values?: unknown[] };
      return text.includes('FROM event e') && values.flat().includes(client.tenantId);
    });
    // Whoever follows looks once a second whether a hint was lost.
    expect(reads.length).toBeLessThanOrEqual(2 + (performance.now() - start) / 1_000);
  } finally {
    spy.mockRestore();
  }
});

it('a message that opens a thread is read at once', async () => {
  const client = await app.tenant();
  const live = await follow(app, client);
  const before = live.events.length;
  const start = performance.now();
  for (let n = 1; n <= 6; n++) {
    await receive(client, { participantId: `new ${n}` });
    await live.waitFor(before + 2 * n);
  }
  // Whoever only looks once a second needs six.
  expect(performance.now() - start).toBeLessThan(3_000);
});

it('a message is what a reader of the log finds, to the order of its keys', async () => {
  const client = await app.tenant();
  const { threadId } = await receive(client);
  const live = await follow(app, client);
  const first = eventsOf(live)[0].cursor;
  const contents: object[] = [
    { zebra: 1, body: 'keys', a: { long: [], b: null }, '': '', ß: '\u2028', constructor: {} },
    { body: 'numbers', of: [1.0, -0, 1e21, 1e-7, 0.1, 2 ** 53, 123456789012345680000] },
    { body: '\u{1F600} é \\ "quoted"\n', more: ['a', { b: [[]] }] },
    { body: 'large', padding: 'x'.repeat(100_000) },
    { body: 'of many bytes', padding: 'ß'.repeat(40_000) },
  ];
  for (const [index, content] of contents.entries()) {
    await Promise.all([
      receive(client, { content, metadata: { z: [1], a: { c: 1, b: 2 } } }),
      receive(client, { content, participantId: 'new' }),
      post(client, '/outbound', { threadId, content }),
    ]);
    if (index === 2) await client.rest('PUT', `/threads/${threadId}`, { status: 'closed' });
  }
  const { eventCursor } = await client.data('{ eventCursor }');
  await eventually(() => eventsOf(live).at(-1).cursor === eventCursor);
  const read = await follow(app, client, first);
  const expected = eventsOf(live).slice(1);
  await read.waitFor(expected.length);
  const told = (events: readonly { type: string }[]) =>
    events
      .filter(({ type }) => type === 'MESSAGE_CREATED')
      .map((event) => JSON.stringify({ ...event, thread: null }));
  expect(told(eventsOf(read))).toEqual(told(expected));
  expect(told(expected).length).toBeGreaterThanOrEqual(3 * contents.length);
});

it('every event comes once and in order, whatever else the process and others write', async () => {
  const client = await app.tenant();
  const subscribers = [
    await follow(app, client),
    await follow(other, client),
    await follow(app, client, 'start'),
  ];
  const clients = [client, other.client(client.apiKey, client.tenantId)];
  const write = async (writer: number) => {
    const by = clients[writer % 2]!;
    for (let n = 0; n < 40; n++) {
      const { threadId, messageId } = await receive(by, { participantId: `p${randomInt(30)}` });
      if (n % 5 === 0) await by.rest('PUT', `/messages/${messageId}/status`, { status: 'read' });
      if (n % 7 === 0) await by.rest('PUT', `/threads/${threadId}`, { status: 'closed' });
    }
  };
  await Promise.all(Array.from({ length: 12 }, (_, writer) => write(writer)));
  const { eventCursor } = await client.data('{ eventCursor }');
  for (const subscriber of subscribers) {
    await eventually(() => eventsOf(subscriber).at(-1)?.cursor === eventCursor);
    const sequences = eventsOf(subscriber).map(({ sequence }) => sequence);
    expect(sequences).toEqual(sequences.map((_, index) => sequences[0] + index));
  }
  const ofMessages = (subscriber: Subscriber) =>
    eventsOf(subscriber).flatMap(({ type, messageId }) => (type === 'MESSAGE_CREATED' ? [messageId] : []));
  expect(ofMessages(subscribers[2]!).length).toBeGreaterThanOrEqual(12 * 40);
  expect(new Set(ofMessages(subscribers[2]!)).size).toBe(ofMessages(subscribers[2]!).length);
});
