import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { expect, onTestFinished } from 'vitest';
import { type Client, createClient } from './app.js';
import { createDatabase } from './postgres.js';
import { install, type Parley } from './process.js';
import { query } from './query.js';
import { eventually, type Receiver, startReceiver } from './receiver.js';
import { startRedis } from './redis.js';
import { receive, registerHandler, signalBecomes } from './signals.js';

/** An api and the workers beside it: real processes on one database. */
interface Fleet {
  readonly client: Client;
  readonly databaseUrl: string;
  readonly api: Parley;
  startWorker(): Promise<Parley>;
}

async function startFleet(backend: 'postgres' | 'redis'): Promise<Fleet> {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const redis = backend === 'redis' ? await startRedis() : null;
  const apiKey = `parley_${randomBytes(24).toString('hex')}`;
  const installation = await install({
    DATABASE_URL: database.connectionString,
    SECRETS_KEY: randomBytes(32).toString('base64'),
    BOOTSTRAP_API_KEY: apiKey,
    ALLOWED_TARGET_CIDRS: '127.0.0.0/8',
    SIGNAL_RETRY_SCHEDULE_SECONDS: Array(20).fill(1).join(),
    LOG_LEVEL: 'warn',
    ...(redis && { REDIS_URL: redis.url }),
  });
  const api = await installation.start({ ROLE: 'api' });
  return {
    client: createClient(api.url, apiKey),
    databaseUrl: database.connectionString,
    api,
    startWorker: () => installation.start({ ROLE: 'worker' }),
  };
}

/**
 * A worker is killed in the middle of a POST: another one sends the signal again under the same id.
 * @returns how long that took
 */
export async function killInTheMiddleOfAPost(backend: 'postgres' | 'redis'): Promise<number> {
  const { client, startWorker } = await startFleet(backend);
  const receiver: Receiver = await startReceiver((_, response) => {
    if (receiver.received.length > 1) response.end();
  });
  await registerHandler(client, { kind: 'HTTP', url: receiver.url });
  const doomed = await startWorker();
  await receive(client, 'hello');
  await receiver.waitFor(1);
  await Promise.all([doomed.kill(), startWorker()]);
  const [first, second] = await receiver.waitFor(2);
  expect(second!.headers['webhook-id']).toBe(first!.headers['webhook-id']);
  expect(second!.bytes).toEqual(first!.bytes);
  return second!.at - first!.at;
}

/**
 * A worker is killed after the receiver's 2xx and before that is on record: a lock keeps it from being written.
 * @returns how many requests the receiver got
 */
export async function killBeforeTheRecord(backend: 'postgres' | 'redis'): Promise<number> {
  const { client, databaseUrl, startWorker } = await startFleet(backend);
  const locker = new pg.Client(databaseUrl);
  await locker.connect();
  onTestFinished(() => locker.end());
  const receiver = await startReceiver(async (_, response) => {
    if (receiver.received.length === 1)
      await locker.query('BEGIN; LOCK TABLE delivery_attempt IN SHARE MODE');
    response.end();
  });
  await registerHandler(client, { kind: 'HTTP', url: receiver.url });
  const doomed = await startWorker();
  const { messageId } = await receive(client, 'hello');
  const waiting = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
  await eventually(async () => (await query(databaseUrl, `SELECT ${waiting}`)).length > 0, {
    describe: () => 'the worker to wait for the lock with its record',
  });
  await doomed.kill();
  // A server finishes the statement of a client that is gone, unless it is told not to.
  await query(databaseUrl, `SELECT pg_terminate_backend(pid) ${waiting}`);
  await locker.query('ROLLBACK');
  await startWorker();
  await signalBecomes(client, messageId, 'DELIVERED', 30_000);
  const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
  expect(new Set(ids).size).toBe(1);
  return ids.length;
}

/** The only api is killed when it has acknowledged a message that nobody has dispatched: it is delivered all the same. */
export async function killBeforeTheDispatch(backend: 'postgres' | 'redis'): Promise<void> {
  const { client, databaseUrl, api, startWorker } = await startFleet(backend);
  const receiver = await startReceiver();
  await registerHandler(client, { kind: 'HTTP', url: receiver.url });
  const { messageId } = await receive(client, 'hello');
  await api.kill();
  expect(await count(databaseUrl, 'true')).toBe(0);
  await startWorker();
  const [request] = await receiver.waitFor(1);
  expect(request!.body).toMatchObject({ messageId, content: { body: 'hello' } });
}

/**
 * Workers get SIGTERM one after the other under load: each drains within the grace time, the last one delivers what
 * they left, and every signal has exactly one success on record.
 */
export async function terminateUnderLoad(options: {
  readonly backend: 'postgres' | 'redis';
  readonly signals: number;
  readonly timeoutMs: number;
}) {
  const { backend, signals, timeoutMs } = options;
  const { client, databaseUrl, startWorker } = await startFleet(backend);
  const receiver = await startReceiver((_, response) => void setTimeout(() => response.end(), 50));
  await registerHandler(client, { kind: 'HTTP', url: receiver.url });
  const [first, second] = await Promise.all([startWorker(), startWorker(), startWorker()]);
  const handingIn = handIn(client, signals);
  const drainMs: number[] = [];
  for (const [index, worker] of [first, second].entries()) {
    await eventually(() => receiver.received.length >= (signals * (index + 1)) / 4, { timeoutMs });
    const startedAt = Date.now();
    expect(await worker!.terminate()).toBe(0);
    drainMs.push(Date.now() - startedAt);
  }
  await handingIn;
  await eventually(async () => (await count(databaseUrl, "status <> 'delivered'")) === 0, {
    timeoutMs,
    describe: () => 'all signals to be delivered',
  });
  expect(await count(databaseUrl, 'true')).toBe(signals);
  const [record] = await query<{ successes: number }>(
    databaseUrl,
    'SELECT count(*)::int AS successes FROM delivery_attempt WHERE error IS NULL',
  );
  expect(record!.successes).toBe(signals);
  expect(new Set(receiver.received.map(({ body }) => body.messageId)).size).toBe(signals);
  for (const milliseconds of drainMs) expect(milliseconds).toBeLessThan(20_000);
  return { drainMs, repeated: receiver.received.length - signals };
}

async function handIn(client: Client, signals: number): Promise<void> {
  let next = 0;
  const connection = async () => {
    while (next < signals) {
      const number = next++;
      await receive(client, `${number}`, `participant_${number}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, connection));
}

async function count(databaseUrl: string, condition: string): Promise<number> {
  const [row] = await query<{ count: number }>(
    databaseUrl,
    `SELECT count(*)::int AS count FROM delivery WHERE ${condition}`,
  );
  return row!.count;
}
