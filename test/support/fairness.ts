import { expect } from 'vitest';
import { type Client, startAppForTest, type TestApp } from './app.js';
import { query } from './query.js';
import { eventually, type Receiver, startReceiver } from './receiver.js';
import { onWebhook, registerWebhook } from './webhooks.js';

export interface FairnessOptions {
  /** What waits for the webhook that hangs. */
  readonly backlog: number;
  /** How many messages the healthy webhook gets in each measurement. */
  readonly messages: number;
}

export interface FairnessFigures {
  /**
   * From the answer to the sender to the arrival at the healthy webhook, 95th percentile: the worse of before and
   * after, because a machine may get other work meanwhile.
   */
  readonly aloneMs: number;
  /** The median of three measurements in a row, for the same reason. */
  readonly besideMs: number;
  readonly hangingRequests: number;
}

/** A pause between messages that leaves the machine time for each of them. */
const PAUSE_MS = 20;

/**
 * Measures how long a healthy webhook waits for its messages, alone and beside one of the same tenant that hangs
 * with a backlog.
 */
export async function measureFairness({ backlog, messages }: FairnessOptions): Promise<FairnessFigures> {
  const app = await startAppForTest();
  const client = await app.tenant();
  const healthy = await startReceiver();
  await registerWebhook(client, healthy.url);
  await delays(client, healthy, 30);
  const beforeMs = await delays(client, healthy, messages);

  const hanging = await startReceiver(() => {});
  const { id } = await registerWebhook(client, hanging.url, { events: ['thread.updated'] });
  await fill(app, client, backlog);
  await eventually(() => hanging.received.length > 0);
  const beside: number[] = [];
  while (beside.length < 3) beside.push(await delays(client, healthy, messages));
  const [left] = await query<{ count: number }>(
    app.databaseUrl,
    `SELECT count(*)::int AS count FROM delivery WHERE status = 'pending' AND event_type = 'thread.updated'`,
  );
  expect(left!.count).toBe(backlog);
  const hangingRequests = hanging.received.length;
  await onWebhook(client, 'pauseWebhook', { id });
  const afterMs = await delays(client, healthy, messages);
  const besideMs = beside.sort((a, b) => a - b)[1]!;
  return { aloneMs: Math.max(beforeMs, afterMs), besideMs, hangingRequests };
}

/** Sends messages one after the other, and answers with the 95th percentile of their delays. */
async function delays(client: Client, receiver: Receiver, count: number): Promise<number> {
  const sentAt = new Map<string, number>();
  for (let index = 0; index < count; index++) {
    const { body } = await client.rest('POST', '/outbound', {
      workflowId: 'workflow_1',
      participantId: 'participant_1',
      channel: 'chat',
      channelKey: 'key',
      content: { body: 'Hello' },
    });
    sentAt.set(body.messageId, Date.now());
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  const arrived = () => receiver.received.filter(({ body }) => sentAt.has(body.messageId));
  await eventually(() => arrived().length === count, { timeoutMs: 60_000 });
  const sorted = arrived()
    .map(({ at, body }) => at - sentAt.get(body.messageId)!)
    .sort((a, b) => a - b);
  return Math.max(1, sorted[Math.floor(sorted.length * 0.95)]!);
}

/** Changes one thread as often as there are to be deliveries. */
async function fill(app: TestApp, client: Client, backlog: number): Promise<void> {
  const { body } = await client.rest('GET', '/threads');
  const path = `/threads/${body.threads[0].id}`;
  const change = async (share: number) => {
    for (let index = 0; index < share; index++) {
      const { status } = await client.rest('PUT', path, { metadata: { index: Math.random() } });
      expect(status).toBe(200);
    }
  };
  const CONNECTIONS = 4;
  await Promise.all(Array.from({ length: CONNECTIONS }, () => change(backlog / CONNECTIONS)));
  await eventually(
    async () => {
      const [row] = await query<{ count: number }>(
        app.databaseUrl,
        `SELECT count(*)::int AS count FROM delivery WHERE event_type = 'thread.updated'`,
      );
      return row!.count === backlog;
    },
    { timeoutMs: 60_000 },
  );
}
