import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { trimEvents } from '../../src/events/retention.js';
import { type Client, startApp, startAppForTest, type TestApp } from '../support/app.js';
import { follow } from '../support/event-stream.js';
import { query as sql } from '../support/query.js';
import { eventually } from '../support/receiver.js';
import { connect, subscribe } from '../support/subscriber.js';

const DAY_MS = 24 * 60 * 60 * 1_000;

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ eventRetentionMs: 7 * DAY_MS });
});
afterAll(() => app.close());

const receive = async (client: Client, count: number) => {
  const message = { workflowId: 'w', participantId: 'p', channel: 'chat', channelKey: 'k' };
  const post = async (_: unknown, n: number) =>
    (await client.rest('POST', '/inbound', { ...message, content: { body: `${n}` } })).status;
  expect(await Promise.all(Array.from({ length: count }, post))).toEqual(Array(count).fill(200));
};

/** Adds so many events to the log at once, behind which nothing is; they are so old. */
const append = (client: Client, count: number, ageMs = 0, databaseUrl = app.databaseUrl) =>
  sql(
    databaseUrl,
    `WITH counted AS (UPDATE tenant_counter SET last_sequence = last_sequence + $2 WHERE tenant_id = $1 RETURNING last_sequence)
     INSERT INTO event (tenant_id, sequence, type, occurred_at)
     SELECT $1, last_sequence - $2 + n, 'run.updated', now() - $3 * interval '1 millisecond'
     FROM counted, generate_series(1, $2) AS n`,
    [client.tenantId, count, ageMs],
  );

const cursorOf = ({ tenantId }: Client, sequence: number) =>
  Buffer.from(`${tenantId}:${sequence}`).toString('base64url');

/** Makes the tenant's events up to a number so old. */
const age = ({ tenantId }: Client, upTo: number, ageMs: number, databaseUrl = app.databaseUrl) =>
  sql(
    databaseUrl,
    `UPDATE event SET occurred_at = now() - $3 * interval '1 millisecond' WHERE tenant_id = $1 AND sequence <= $2`,
    [tenantId, upTo, ageMs],
  );

const dispatched = async ({ tenantId }: Client, sequence: number, databaseUrl = app.databaseUrl) =>
  eventually(async () => {
    const [row] = await sql<{ sequence: string }>(
      databaseUrl,
      'SELECT sequence FROM dispatch_checkpoint WHERE tenant_id = $1',
      [tenantId],
    );
    return Number(row?.sequence) >= sequence;
  });

const retained = async ({ tenantId }: Client, databaseUrl = app.databaseUrl) =>
  (
    await sql<{ sequence: string }>(
      databaseUrl,
      'SELECT sequence FROM event WHERE tenant_id = $1 ORDER BY sequence',
      [tenantId],
    )
  ).map(({ sequence }) => Number(sequence));

const trimAll = async () => {
  while (await trimEvents(app.services.database, 7 * DAY_MS));
};

/** A tenant with events 4 to 6 of 6. */
async function trimmed(): Promise<Client> {
  const client = await app.tenant();
  await receive(client, 5);
  await dispatched(client, 6);
  await age(client, 3, 8 * DAY_MS);
  await trimAll();
  expect(await retained(client)).toEqual([4, 5, 6]);
  return client;
}

const EVENTS = 'query ($after: String) { events(after: $after) { events { sequence } nextCursor hasMore } }';
const SUBSCRIPTION = 'subscription ($after: String) { events(after: $after) { sequence } }';

describe('the trimmed log', () => {
  it('refuses an older cursor with the oldest that still works, on every way', async () => {
    const client = await trimmed();
    const oldest = cursorOf(client, 3);
    const issue = `is older than the log; the oldest cursor that still works is ${oldest}`;
    for (const sequence of [0, 1, 2]) {
      const after = cursorOf(client, sequence);
      const fault = {
        message: 'The log begins after this cursor',
        extensions: { code: 'CURSOR_EXPIRED', details: [{ field: 'after', issue }] },
      };
      expect((await client.graphql(EVENTS, { after })).body.errors).toMatchObject([fault]);
      for (const field of ['events { sequence }', 'messageAdded { cursor }', 'threadUpdated { cursor }']) {
        const [name, rest] = field.split(/ (.*)/s);
        const live = await subscribe(
          connect(app.url, client.apiKey),
          `subscription ($after: String) { ${name}(after: $after) ${rest} }`,
          { after },
        );
        expect((await live.waitFor(1))[0].errors).toMatchObject([fault]);
      }
      for (const [query, headers, field] of [
        [`?after=${after}`, {}, 'after'],
        ['', { 'last-event-id': after }, 'Last-Event-ID'],
      ] as const) {
        const { status, body } = await client.rest('GET', `/events${query}`, undefined, headers);
        expect([status, body.error.code, body.error.details]).toEqual([
          400,
          'cursor_expired',
          [{ field, issue }],
        ]);
      }
    }
    for (const after of ['garbage', cursorOf(client, 7), cursorOf(await app.tenant(), 3)]) {
      const { body } = await client.graphql(EVENTS, { after });
      expect(body.errors).toMatchObject([
        { extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'after' }] } },
      ]);
    }
  });

  it('is whole behind the oldest cursor, which `start` stands for', async () => {
    const client = await trimmed();
    const oldest = cursorOf(client, 3);
    for (const after of [oldest, 'start', undefined]) {
      const { events } = await client.data(EVENTS, { after });
      expect(events).toMatchObject({
        events: [{ sequence: 4 }, { sequence: 5 }, { sequence: 6 }],
        hasMore: false,
      });
    }
    for (const after of [oldest, 'start']) {
      const live = await subscribe(connect(app.url, client.apiKey), SUBSCRIPTION, { after });
      expect((await live.waitFor(3)).map(({ data }) => data.events.sequence)).toEqual([4, 5, 6]);
      const stream = await follow(app.url, client, `?after=${after}`);
      expect(stream.opening.id).toBe(oldest);
      expect((await stream.waitFor(3)).map(({ data }) => data.sequence)).toEqual([4, 5, 6]);
    }
  });

  it('goes on from its end when nothing of it is left', async () => {
    const client = await app.tenant();
    await receive(client, 2);
    await dispatched(client, 3);
    const { eventCursor } = await client.data('{ eventCursor }');
    const live = await subscribe(connect(app.url, client.apiKey), SUBSCRIPTION, { after: eventCursor });
    await age(client, 3, 8 * DAY_MS);
    await trimAll();
    expect(await retained(client)).toEqual([]);
    const late = await subscribe(connect(app.url, client.apiKey), SUBSCRIPTION, { after: eventCursor });
    const { events } = await client.data(EVENTS, { after: 'start' });
    expect(events).toEqual({ events: [], nextCursor: eventCursor, hasMore: false });
    await receive(client, 1);
    for (const { waitFor } of [live, late]) {
      expect((await waitFor(1)).map(({ data }) => data.events.sequence)).toEqual([4]);
    }
  });
});

describe('trimming', () => {
  it('leaves a stream that had nothing to tell for long a place to go on from', async () => {
    const client = await app.tenant();
    const stream = await follow(app.url, client, '?workflowId=quiet');
    await receive(client, 5);
    await dispatched(client, 6);
    await eventually(() => stream.lastEventId() === cursorOf(client, 6), { timeoutMs: 40_000 });
    stream.stop();
    await age(client, 6, 8 * DAY_MS);
    await trimAll();

    const place = { 'last-event-id': stream.lastEventId() };
    const again = await follow(app.url, client, '?workflowId=quiet', place);
    const message = { workflowId: 'quiet', participantId: 'p', channel: 'chat', channelKey: 'k' };
    await client.rest('POST', '/inbound', { ...message, content: { body: 'at last' } });
    await again.waitFor(2);
    expect(stream.events).toEqual([]);
  }, 60_000);

  it('takes nothing that is young or stands behind something young, and nothing of others', async () => {
    const [client, other] = [await app.tenant(), await app.tenant()];
    await Promise.all([receive(client, 5), receive(other, 5)]);
    await Promise.all([dispatched(client, 6), dispatched(other, 6)]);
    await age(client, 6, 8 * DAY_MS);
    await sql(app.databaseUrl, 'UPDATE event SET occurred_at = now() WHERE tenant_id = $1 AND sequence = 3', [
      client.tenantId,
    ]);
    await trimAll();
    expect(await retained(client)).toEqual([3, 4, 5, 6]);
    expect(await retained(other)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('never passes the checkpoint of the dispatcher', async () => {
    // An api does not dispatch, and here is no worker.
    const api = await startAppForTest({ role: 'api' });
    await receive(api.operator, 5);
    await age(api.operator, 6, 8 * DAY_MS, api.databaseUrl);
    const trim = () => trimEvents(api.services.database, 7 * DAY_MS);
    expect(await trim()).toBe(false);
    await sql(api.databaseUrl, 'UPDATE dispatch_checkpoint SET sequence = 4');
    expect(await trim()).toBe(true);
    expect(await trim()).toBe(false);
    expect(await retained(api.operator, api.databaseUrl)).toEqual([5, 6]);
  });

  it('goes in small steps, by one worker at a time', async () => {
    const client = await app.tenant();
    await append(client, 2_002, 8 * DAY_MS);
    await dispatched(client, 2_002);
    const { database } = app.services;
    const left: number[] = [];
    for (let isMore = true; isMore; ) {
      const workers = await Promise.all([1, 2, 3].map(() => trimEvents(database, 7 * DAY_MS)));
      isMore = workers.includes(true);
      const events = await retained(client);
      left.push(events.length);
      expect(events).toEqual(
        Array.from({ length: events.length }, (_, index) => 2003 - events.length + index),
      );
    }
    expect(left.at(-1)).toBe(0);
    for (const [index, count] of left.slice(1).entries()) {
      // At most a step for each of the three, which may have come one after the other.
      expect(left[index]! - count).toBeLessThanOrEqual(1_500);
    }
  });

  it('is done by the workers themselves, and tells a subscriber whom it overtakes', async () => {
    const short = await startAppForTest({ eventRetentionMs: 1_000 });
    const client = short.operator;
    const stream = await follow(short.url, client);
    await receive(client, 3);
    await stream.waitFor(4);
    await eventually(async () => (await retained(client, short.databaseUrl)).length === 0);
    const { body } = await client.rest('GET', `/events?after=${cursorOf(client, 3)}`);
    expect(body.error.code).toBe('cursor_expired');

    // It has begun at the front, and then does not read until what comes next is gone.
    const slow = short.services.liveFeed.subscribe(client.tenantId, 4n, {});
    const first = slow.next();
    await receive(client, 1);
    expect((await first).value).toMatchObject({ sequence: 5n });
    await append(client, 600, 0, short.databaseUrl);
    await eventually(async () => (await retained(client, short.databaseUrl)).length === 0);
    await expect(
      (async () => {
        for await (const _ of slow);
      })(),
    ).rejects.toMatchObject({ code: 'cursor_expired' });
    await receive(client, 1);
    expect((await stream.waitFor(606)).map(({ data }) => data.sequence)).toEqual(
      Array.from({ length: 606 }, (_, index) => index + 1),
    );
  }, 60_000);
});
