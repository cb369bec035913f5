import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, REST, startApp, type TestApp } from '../support/app.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const message = {
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'chat',
  channelKey: 'key_1',
  content: { body: 'Hello' },
};

const MB = 1024 * 1024;
const MESSAGES_OF_LONG_THREAD = 130;

/** Stores a message of about so many bytes. */
async function receive(client: Client, bytes = 10) {
  const { status, body } = await client.rest('POST', '/inbound', {
    ...message,
    content: { body: 'x'.repeat(bytes) },
  });
  expect(status).toBe(200);
  return body as { threadId: string; messageId: string };
}

/** A tenant with one thread of messages of these sizes. */
async function threadOf(sizes: readonly number[]) {
  const client = await app.tenant();
  let threadId = '';
  for (const size of sizes) ({ threadId } = await receive(client, size));
  return { client, threadId };
}

async function page({ client, threadId }: { client: Client; threadId: string }, query: string) {
  const { status, body, headers } = await client.rest('GET', `/threads/${threadId}/messages${query}`);
  expect(status).toBe(200);
  expect(headers.get('x-event-cursor')).toMatch(/./);
  expect(Object.keys(body)).toEqual(['messages', 'hasMore']);
  return { positions: positionsOf(body.messages), hasMore: body.hasMore as boolean };
}

const positionsOf = (messages: { position: number }[]) => messages.map(({ position }) => position);
const from = (first: number, last: number) =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);

describe('GET /threads/{threadId}/messages', () => {
  let long: Awaited<ReturnType<typeof threadOf>>;
  beforeAll(async () => {
    long = await threadOf(Array(MESSAGES_OF_LONG_THREAD).fill(10));
  });

  it.each<[string, number, number, boolean]>([
    ['', 1, 50, true],
    ['?limit=500', 1, 130, false],
    ['?limit=130', 1, 130, false],
    ['?limit=129', 1, 129, true],
    ['?limit=1', 1, 1, true],
    ['?after=0&limit=2', 1, 2, true],
    ['?after=10&limit=3', 11, 13, true],
    ['?after=100', 101, 130, false],
    ['?after=80', 81, 130, false],
    ['?after=79', 80, 129, true],
    ['?after=129', 130, 130, false],
    ['?after=130', 1, 0, false],
    ['?after=1000', 1, 0, false],
    ['?after=2147483647', 1, 0, false],
    ['?before=2147483647&limit=2', 129, 130, true],
    ['?before=131&limit=500', 1, 130, false],
    ['?before=100', 50, 99, true],
    ['?before=51', 1, 50, false],
    ['?before=52', 2, 51, true],
    ['?before=3&limit=1', 2, 2, true],
    ['?before=2&limit=1', 1, 1, false],
    ['?before=1', 1, 0, false],
    ['?before=0', 1, 0, false],
    ['?after=10&before=20', 11, 19, false],
    ['?after=10&before=20&limit=9', 11, 19, false],
    ['?after=10&before=20&limit=8', 11, 18, true],
    ['?after=10&before=11', 1, 0, false],
    ['?after=10&before=10', 1, 0, false],
    ['?after=20&before=10', 1, 0, false],
    ['?after=120&before=1000&limit=5', 121, 125, true],
    ['?after=120&before=1000', 121, 130, false],
  ])('%s', async (query, first, last, hasMore) => {
    expect(await page(long, query)).toEqual({ positions: from(first, last), hasMore });
  });

  it('gives each message as GET /messages/{messageId} and the thread do', async () => {
    const { client, threadId } = long;
    const { body } = await client.rest('GET', `/threads/${threadId}/messages?limit=3`);
    const thread = await client.rest('GET', `/threads/${threadId}?pageSize=3`);
    expect(body.messages).toEqual(thread.body.messages);
    for (const one of body.messages) {
      const answer = await client.rest('GET', `/messages/${one.id}`);
      expect([answer.status, answer.body]).toEqual([200, one]);
      expect(answer.headers.get('x-event-cursor')).toMatch(/./);
    }
  });

  it.each([
    ['?limit=0', ['limit']],
    ['?limit=501', ['limit']],
    ['?limit=', ['limit']],
    ['?limit=x&after=-1&before=1.5', ['after', 'before', 'limit']],
    ['?after=2147483648', ['after']],
    ['?before=99999999999999999999', ['before']],
    ['?after=1&after=2', ['after']],
    ['?after=%00', ['after']],
  ])('refuses %s', async (query, fields) => {
    const { client, threadId } = long;
    const { status, body } = await client.rest('GET', `/threads/${threadId}/messages${query}`);
    expect([status, body.error.code]).toEqual([400, 'invalid_request']);
    expect(body.error.details.map(({ field }: { field: string }) => field)).toEqual(fields);
  });

  it('gives short pages of large messages, and nothing is skipped on the way through', async () => {
    const sizes = [3 * MB, 3 * MB, 3 * MB, 10, 10, 9 * MB, 10, 7 * MB, 10, 2 * MB];
    const thread = await threadOf(sizes);
    const read = async (query: (position: number) => string, next: (positions: number[]) => number) => {
      const pages: number[][] = [];
      let position = 0;
      for (let more = true; more; ) {
        const { positions, hasMore } = await page(thread, query(position));
        expect(positions.length).toBeGreaterThan(0);
        pages.push(positions);
        position = next(positions);
        more = hasMore;
      }
      return pages;
    };
    expect(
      await read(
        (after) => `?limit=500&after=${after}`,
        (positions) => positions.at(-1)!,
      ),
    ).toEqual([[1, 2], [3, 4, 5], [6], [7, 8, 9], [10]]);
    expect(
      await read(
        (before) => `?limit=500&before=${before || 11}`,
        (positions) => positions[0]!,
      ),
    ).toEqual([[9, 10], [7, 8], [6], [2, 3, 4, 5], [1]]);
    // A limit below what would fit counts as ever.
    expect(await page(thread, '?after=2&limit=2')).toEqual({ positions: [3, 4], hasMore: true });
    expect(await page(thread, '?after=5&before=7')).toEqual({ positions: [6], hasMore: false });
  });
});

describe('GET /threads/{threadId}', () => {
  it('gives whole pages of messages, however large they are', async () => {
    const sizes = [9 * MB, 10, 5 * MB, 5 * MB, 2 * MB, 10, 9 * MB, 3 * MB];
    const { client, threadId } = await threadOf(sizes);
    for (const [query, positions, messagesPage] of [
      ['', from(1, 8), { page: 1, pageSize: 100, hasMore: false }],
      ['?pageSize=8', from(1, 8), { page: 1, pageSize: 8, hasMore: false }],
      ['?pageSize=7', from(1, 7), { page: 1, pageSize: 7, hasMore: true }],
      ['?pageSize=3&page=2', from(4, 6), { page: 2, pageSize: 3, hasMore: true }],
      ['?pageSize=3&page=3', from(7, 8), { page: 3, pageSize: 3, hasMore: false }],
      ['?pageSize=3&page=4', [], { page: 4, pageSize: 3, hasMore: false }],
    ] as const) {
      const { status, body, headers } = await client.rest('GET', `/threads/${threadId}${query}`);
      expect([status, headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8']);
      expect([positionsOf(body.messages), body.messagesPage]).toEqual([positions, messagesPage]);
      for (const { position, content, logs } of body.messages) {
        expect([position, content.body.length, logs.length]).toEqual([position, sizes[position - 1], 1]);
      }
    }
  });

  it('is whole JSON also when the thread is deleted while it is being read', async () => {
    const { client, threadId } = await threadOf([7 * MB, 7 * MB, 7 * MB]);
    const response = await fetch(`${app.url}${REST}/threads/${threadId}`, {
      headers: { authorization: `Bearer ${client.apiKey}` },
    });
    const reader = response.body!.getReader();
    const chunks: Uint8Array[] = [(await reader.read()).value!];
    expect((await client.rest('DELETE', `/threads/${threadId}?permanent=true`)).status).toBe(200);
    for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
    const { id, messages, messagesPage } = JSON.parse(Buffer.concat(chunks).toString());
    expect([id, messagesPage.hasMore]).toEqual([threadId, false]);
    expect(positionsOf(messages)).toEqual(from(1, messages.length));
  });

  it('of a caller who goes away half-way does no harm to others', async () => {
    const { client, threadId } = await threadOf(Array(4).fill(6 * MB));
    for (let n = 0; n < 5; n++) {
      const gone = new AbortController();
      const response = await fetch(`${app.url}${REST}/threads/${threadId}`, {
        headers: { authorization: `Bearer ${client.apiKey}` },
        signal: gone.signal,
      });
      await response.body!.getReader().read();
      gone.abort();
    }
    const { status, body } = await client.rest('GET', `/threads/${threadId}`);
    expect([status, positionsOf(body.messages)]).toEqual([200, from(1, 4)]);
  });
});
