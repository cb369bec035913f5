import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { startEmbeddedPostgres } from '../../src/database/embedded-postgres.js';
import { createLog } from '../../src/log.js';
import { type Client, startAppForTest } from './app.js';
import { makeDataDir, removeDataDir } from './postgres.js';
import { eventually, startReceiver } from './receiver.js';
import { startRedis, type TestRedis } from './redis.js';
import { registerHandler } from './signals.js';

export type Backend = 'postgres' | 'redis';

const CONNECTIONS = 16;
/** At once, a few times, then a second apart: what fails now and then must never fail finally. */
const SCHEDULE = [0, 0, 0, ...Array<number>(20).fill(1)];

const redisFor = async (backend: Backend): Promise<TestRedis | null> =>
  backend === 'redis' ? startRedis() : null;

/** Hands in messages over several connections; those of a thread one after the other, with text 1, 2, 3 … */
async function handIn(client: Client, threads: number, messages: number): Promise<void> {
  let next = 0;
  const connection = async () => {
    while (next < threads) {
      const participantId = `participant_${next++}`;
      for (let number = 1; number <= messages; number++) {
        const { status } = await client.rest('POST', '/inbound', {
          workflowId: 'workflow_1',
          participantId,
          channel: 'chat',
          channelKey: participantId,
          content: { body: `${number}` },
        });
        expect(status).toBe(200);
      }
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
}

/**
 * Each thread's signals arrive in order and none is missing, while requests fail at random.
 * @returns what was measured
 */
export async function orderUnderFailures(options: {
  readonly backend: Backend;
  readonly threads: number;
  readonly messages: number;
  readonly failureRate: number;
  readonly timeoutMs: number;
}) {
  const { threads, messages, failureRate, timeoutMs } = options;
  const redis = await redisFor(options.backend);
  const app = await startAppForTest({ redisUrl: redis?.url ?? null, signalRetryScheduleSeconds: SCHEDULE });
  const client = await app.tenant();
  const arrived = new Map<string, string[]>();
  let acknowledged = 0;
  const receiver = await startReceiver(({ body }, response) => {
    const ofThread = arrived.get(body.threadId) ?? [];
    arrived.set(body.threadId, [...ofThread, body.content.body]);
    if (Math.random() < failureRate) return void response.writeHead(500).end();
    acknowledged++;
    response.end();
  });
  await registerHandler(client, { kind: 'HTTP', url: receiver.url });
  const startedAt = Date.now();
  await handIn(client, threads, messages);
  const handedInMs = Date.now() - startedAt;
  await eventually(() => acknowledged >= threads * messages, {
    timeoutMs,
    describe: () => `${threads * messages} acknowledged signals, got ${acknowledged}`,
  });
  const deliveredMs = Date.now() - startedAt;

  const expected = Array.from({ length: messages }, (_, index) => `${index + 1}`);
  expect(arrived.size).toBe(threads);
  for (const texts of arrived.values()) {
    // An attempt that failed is repeated before the next one comes, so without repeats the order must be exact.
    expect(texts.filter((text, index) => text !== texts[index - 1])).toEqual(expected);
  }
  return { handedInMs, deliveredMs, requests: receiver.received.length };
}

/** What may happen to the servers that the deliveries pass through. */
export type Disaster = 'Redis is flushed' | 'Redis is away for a while' | 'Postgres is restarted';

/**
 * Every signal arrives although something happens in the middle of them.
 * @param awayMs how long Redis is away, if it is
 */
export async function surviveDisaster(options: {
  readonly backend: Backend;
  readonly disaster: Disaster;
  readonly deliveries: number;
  readonly awayMs: number;
  readonly timeoutMs: number;
}) {
  const { disaster, deliveries, timeoutMs } = options;
  const redis = await redisFor(options.backend);
  const postgres = disaster === 'Postgres is restarted' ? await startOwnPostgres() : null;
  const app = await startAppForTest({
    redisUrl: redis?.url ?? null,
    signalRetryScheduleSeconds: SCHEDULE,
    ...(postgres && { databaseUrl: postgres.connectionString }),
  });
  const client = await app.tenant();
  const arrived = new Map<string, number>();
  const receiver = await startReceiver(({ body }, response) => {
    arrived.set(body.messageId, (arrived.get(body.messageId) ?? 0) + 1);
    setTimeout(() => response.end(), 20);
  });
  await registerHandler(client, { kind: 'HTTP', url: receiver.url });
  const handingIn = handInDespite(client, deliveries);
  await eventually(() => arrived.size >= deliveries / 4, { timeoutMs });
  if (disaster === 'Redis is flushed') await redis!.flush();
  if (disaster === 'Redis is away for a while') {
    await redis!.kill();
    await new Promise((resolve) => setTimeout(resolve, options.awayMs));
    await redis!.start();
  }
  if (postgres) await postgres.restart();
  const happenedAt = Date.now();
  const messageIds = await handingIn;
  await eventually(() => messageIds.every((id) => arrived.has(id)), {
    timeoutMs,
    describe: () => `${deliveries} signals, got ${arrived.size}`,
  });
  return { afterMs: Date.now() - happenedAt, repeated: receiver.received.length - arrived.size };
}

/** Hands in messages of as many threads under idempotency keys, again and again until each is accepted. */
async function handInDespite(client: Client, count: number): Promise<string[]> {
  const ids: string[] = [];
  let next = 0;
  const connection = async () => {
    while (next < count) {
      const key = `key_${next++}`;
      const body = {
        workflowId: 'workflow_1',
        participantId: key,
        channel: 'chat',
        channelKey: key,
        content: { body: key },
        idempotencyKey: key,
      };
      await eventually(
        async () => {
          const answer = await client.rest('POST', '/inbound', body).catch(() => null);
          if (answer?.status === 200) ids.push(answer.body.messageId);
          return answer?.status === 200;
        },
        { timeoutMs: 60_000, describe: () => `${key} to be accepted` },
      );
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
  return ids;
}

/** A Postgres of the test's own. When it is shut down, its keeper starts it again at the same port. */
async function startOwnPostgres() {
  const dataDir = await makeDataDir();
  const server = await startEmbeddedPostgres({ dataDir, log: createLog('silent') });
  onTestFinished(async () => {
    await server.stop();
    await removeDataDir(dataDir);
  });
  const pid = async () =>
    Number((await readFile(join(dataDir, 'postgres/data/postmaster.pid'), 'utf8')).split('\n')[0]);
  return {
    connectionString: server.connectionString,
    async restart() {
      const before = await pid();
      process.kill(before, 'SIGINT');
      await eventually(async () => (await pid().catch(() => before)) !== before, { timeoutMs: 60_000 });
    },
  };
}
