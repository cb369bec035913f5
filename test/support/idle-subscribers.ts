import { inject, onTestFinished } from 'vitest';
import { overEventStream, overWebSocket, startChurnSubscriber } from './churn-subscriber.js';
import { memoryOf } from './memory.js';
import { startOneApi } from './one-api.js';
import { query } from './query.js';
import { eventually } from './receiver.js';

/** What the statements of an idle process come to: the reader's poll, the look at the keys, and some room. */
const MOST_TRANSACTIONS_A_SECOND = 10;
const TRANSACTIONS_WATCHED = 20;
const OPENED_AT_ONCE = 50;

/**
 * Opens subscribers, half of them over WebSocket and half over event streams, who then have nothing to do: nothing is
 * asked of the database for them, and a message reaches them all.
 * @returns what one of them costs in memory, and the rest of the figures
 */
export async function idleSubscribers(count: number) {
  const { api, client, databaseUrl } = await startOneApi();
  const ways = [
    overWebSocket(
      client.apiKey,
      'subscription ($after: String) { messageAdded(after: $after) { sequence cursor message { content } } }',
      {},
    ),
    overEventStream(client.apiKey, '?types=message.created'),
  ];
  const { eventCursor } = await client.data('{ eventCursor }');
  const before = await memoryOf(api);
  let arrived = 0;
  const isOpen = async (opened: number) =>
    Number(
      /^nodejs_active_handles_total (\d+)/m.exec(await (await fetch(`${api.url}/metrics`)).text())?.[1],
    ) >= opened;
  for (let opened = 0; opened < count; opened += OPENED_AT_ONCE) {
    for (let index = 0; index < OPENED_AT_ONCE; index++) {
      const subscriber = startChurnSubscriber(
        ways[index % 2]!,
        () => api.url,
        eventCursor,
        () => arrived++,
      );
      onTestFinished(() => subscriber.stop());
    }
    await eventually(() => isOpen(opened + OPENED_AT_ONCE), { timeoutMs: 60_000 });
  }
  const transactionsPerSecond = await idleTransactions(databaseUrl);
  const after = await memoryOf(api);

  const sentAt = performance.now();
  await client.rest('POST', '/inbound', {
    workflowId: 'w',
    participantId: 'p',
    channel: 'chat',
    channelKey: 'k',
    content: { body: 'Hello' },
  });
  await eventually(() => arrived === count, {
    timeoutMs: 60_000,
    describe: () => `the message to reach all, not ${arrived}`,
  });
  const reachedAllMs = Math.round(performance.now() - sentAt);
  const each = (kind: 'heapUsed' | 'external' | 'rss') => Math.round((after[kind] - before[kind]) / count);
  return {
    count,
    heapBytesEach: each('heapUsed'),
    rssBytesEach: each('rss'),
    transactionsPerSecond,
    reachedAllMs,
  };
}

/**
 * Watches the process's transactions go by until it is quiet: what subscribers asked for when they came, Postgres
 * counts a little later. If each of them went on asking, it would never be.
 */
async function idleTransactions(databaseUrl: string): Promise<number> {
  let perSecond = Number.POSITIVE_INFINITY;
  await eventually(
    async () => {
      const [start, startedAt] = [await transactions(databaseUrl), performance.now()];
      let count = 0;
      await eventually(
        async () => {
          count = (await transactions(databaseUrl)) - start;
          return count >= TRANSACTIONS_WATCHED;
        },
        { timeoutMs: 60_000 },
      );
      perSecond = Math.round((count / (performance.now() - startedAt)) * 10_000) / 10;
      return perSecond < MOST_TRANSACTIONS_A_SECOND;
    },
    {
      timeoutMs: 60_000,
      describe: () => `the process to be quiet; it does ${perSecond} transactions a second`,
    },
  );
  return perSecond;
}

/** Asked for in another database, so that asking is not counted. */
async function transactions(databaseUrl: string): Promise<number> {
  const [row] = await query<{ count: number }>(
    inject('postgres').adminUrl,
    'SELECT (xact_commit + xact_rollback)::int AS count FROM pg_stat_database WHERE datname = $1',
    [new URL(databaseUrl).pathname.slice(1)],
  );
  return row!.count;
}
