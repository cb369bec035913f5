import type { ServerResponse } from 'node:http';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/ids.js';
import { type ClaimedDelivery, claimDeliveries } from '../../src/services/deliveries/claim.js';
import { dispatchEvents, type Lane } from '../../src/services/deliveries/dispatch.js';
import { settleDeliveries } from '../../src/services/deliveries/settle.js';
import { type Client, startApp, startAppForTest, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { startReceiver } from '../support/receiver.js';
import { receive, registerHandler } from '../support/signals.js';
import { registerWebhook, sendMessages } from '../support/webhooks.js';

const URL_OF_NOBODY = 'http://127.0.0.1:9/';

/** The lanes that have something to send, as a dispatcher would ring for them. */
async function dispatch({ services }: TestApp): Promise<Lane[]> {
  const lanes: Lane[] = [];
  for (;;) {
    const step = await dispatchEvents(services.database);
    lanes.push(...step.lanes);
    if (step.eventCount === 0) return lanes;
  }
}

describe('claims for many lanes at once', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ role: 'api' });
  });
  afterAll(() => app.close());

  async function claim(lanes: readonly Lane[], limit = 20) {
    return claimDeliveries(
      app.services.database,
      lanes.map((lane) => ({ lane, limit })),
    );
  }

  async function signalsOf(client: Client, threads: number): Promise<string[]> {
    await registerHandler(client, { kind: 'HTTP', url: URL_OF_NOBODY });
    for (const text of ['first', 'second']) {
      for (let thread = 0; thread < threads; thread++) await receive(client, text, `participant_${thread}`);
    }
    return Array.from({ length: threads }, () => 'first');
  }

  const textsOf = (claims: Awaited<ReturnType<typeof claim>>) =>
    claims.flatMap(({ deliveries }) =>
      deliveries.map(({ message }) => (message?.content as { body: string } | undefined)?.body),
    );

  it('take the first of each thread, and nothing more while that is under way', async () => {
    const expected = [
      ...(await signalsOf(await app.tenant(), 3)),
      ...(await signalsOf(await app.tenant(), 2)),
    ];
    const lanes = await dispatch(app);
    expect(lanes).toHaveLength(5);
    const claims = await claim(lanes);
    expect(claims.map(({ deliveries }) => deliveries[0]?.threadId)).toEqual(
      lanes.map(({ laneId }) => laneId),
    );
    expect(textsOf(claims)).toEqual(expected);
    expect(textsOf(await claim(lanes))).toEqual([]);
  });

  it('take of each webhook as many as there is room for, and no other tenant’s', async () => {
    const [one, other] = [await app.tenant(), await app.tenant()];
    for (const client of [one, other]) {
      await registerWebhook(client, URL_OF_NOBODY);
      await sendMessages(client, 5);
    }
    const lanes = await dispatch(app);
    const stolen = lanes.map((lane, index) => ({ ...lane, laneId: lanes.at(index - 1)?.laneId ?? '' }));
    expect(textsOf(await claim(stolen))).toEqual([]);
    const claims = await claim(lanes, 3);
    expect(claims.map(({ deliveries }) => deliveries.map(({ tenantId }) => tenantId))).toEqual(
      lanes.map(({ tenantId }) => [tenantId, tenantId, tenantId]),
    );
    expect((await claim(lanes, 3)).map(({ deliveries }) => deliveries.length)).toEqual([2, 2]);
  });

  it('leave out at once what another claim has just taken', async () => {
    const { database } = app.services;
    const client = await app.tenant();
    await registerWebhook(client, URL_OF_NOBODY);
    await sendMessages(client, 5);
    await signalsOf(client, 2);
    const lanes = await dispatch(app);
    await database.$transaction(async (transaction) => {
      const looks = lanes.map((lane) => ({ lane, limit: 3 }));
      const uncommitted = await claimDeliveries(transaction as typeof database, looks);
      expect(uncommitted.flatMap(({ deliveries }) => deliveries)).toHaveLength(5);
      expect(textsOf(await claim(lanes))).toEqual(['Hello 3', 'Hello 4']);
    });
  });
});

it('webhooks whose limits somebody holds up hold up no other tenant', async () => {
  const app = await startAppForTest();
  const held = [await app.tenant(), await app.tenant(), await app.tenant()];
  const other = await app.tenant();
  const receiver = await startReceiver();
  for (const client of [...held, other]) await registerWebhook(client, receiver.url, { ratePerSecond: 100 });
  const holder = new pg.Client(app.databaseUrl);
  await holder.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT FROM webhook_health WHERE tenant_id <> $1 FOR UPDATE', [other.tenantId]);

  for (const client of held) await sendMessages(client);
  await sendMessages(other, 3);
  await receiver.waitFor(3);
  expect(receiver.received.map(({ body }) => body.tenantId)).toEqual(Array(3).fill(other.tenantId));

  await holder.query('ROLLBACK');
  await holder.end();
  await receiver.waitFor(6);
});

it('a webhook that has not answered yet is sent what comes meanwhile', async () => {
  const app = await startAppForTest({ deliveryDeadlineMs: 60_000 });
  const client = await app.tenant();
  const unanswered: ServerResponse[] = [];
  const receiver = await startReceiver((_, response) => void unanswered.push(response));
  await registerWebhook(client, receiver.url);
  for (const count of [1, 2, 3]) {
    await sendMessages(client);
    await receiver.waitFor(count);
  }
  for (const response of unanswered) response.end();
});

it('claims and records look deliveries up, also when their plans were made for a few and there are many', async () => {
  const app = await startAppForTest({ role: 'api' });
  const { database, hints, ingestion } = app.services;
  const client = await app.tenant();
  const { tenantId } = client;
  await registerHandler(client, { workflowId: '*', kind: 'HTTP', url: URL_OF_NOBODY });
  await registerWebhook(client, URL_OF_NOBODY);

  const store = (direction: 'inbound' | 'outbound', count: number) =>
    Promise.all(
      Array.from({ length: count }, (_, index) =>
        ingestion.add({
          tenantId,
          direction,
          workflowId: 'w',
          participantId: `p${index}`,
          expectedThreadId: null,
          newThreadId: newId(),
          messageId: newId(),
          channel: 'chat',
          channelKey: 'k',
          content: '{}',
          searchText: '',
          attachments: [],
          metadata: '{}',
          idempotencyKey: null,
          inputHash: null,
        }),
      ),
    );

  async function claimEach(count: number) {
    await Promise.all([store('inbound', count), store('outbound', count)]);
    const lanes = [...new Map((await dispatch(app)).map((lane) => [lane.laneId, lane])).values()];
    const claims = [];
    for (let at = 0; at < lanes.length; at += 100) {
      const looks = lanes.slice(at, at + 100).map((lane) => ({ lane, limit: 20 }));
      claims.push(...(await claimDeliveries(database, looks)));
    }
    return claims.flatMap(({ deliveries }) => deliveries);
  }

  /** How many rows were come by without an index. */
  async function walked(): Promise<number> {
    await database.$queryRaw`SELECT pg_stat_force_next_flush()::text`;
    const statistics =
      "SELECT seq_tup_read::int AS walked FROM pg_stat_user_tables WHERE relname = 'delivery'";
    const [row] = await query<{ walked: number }>(app.databaseUrl, statistics);
    return row!.walked;
  }

  async function settle(deliveries: readonly ClaimedDelivery[]): Promise<void> {
    const outcomes = deliveries.map(({ id, leaseToken }) => ({
      tenantId,
      deliveryId: id,
      leaseToken,
      webhook: null,
      status: 'delivered' as const,
      dueAt: null,
      at: new Date(),
      statusCode: 200,
      durationMs: 1,
      error: null,
      responseBody: null,
      details: {},
    }));
    await settleDeliveries(database, hints, outcomes);
  }

  for (let time = 0; time < 10; time++) {
    const deliveries = await claimEach(10);
    expect(deliveries).toHaveLength(20);
    await settle(deliveries);
  }
  const before = await walked();
  const deliveries = await claimEach(1_000);
  expect(deliveries).toHaveLength(1_020);
  const claimed = await walked();
  expect(claimed - before).toBe(0);
  let records = 0;
  for (let at = 0; at < deliveries.length; at += 100, records++) await settle(deliveries.slice(at, at + 100));
  const recorded = await walked();
  // Postgres may walk a table that it takes for small once in a statement, to join what it updates.
  const [{ rows } = { rows: 0 }] = await query<{ rows: number }>(
    app.databaseUrl,
    'SELECT count(*)::int AS rows FROM delivery',
  );
  expect(recorded - claimed).toBeLessThanOrEqual(records * rows);
});
