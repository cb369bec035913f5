import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import type { PrismaClient } from '../generated/prisma/client.js';

/**
 * The signal of a read on its way through Prisma, which has no other place for it. While it has a store, Node looks
 * after every promise of the process, so nothing else goes this way.
 */
const ofPrisma = new AsyncLocalStorage<AbortSignal>();
let readsOfPrisma = 0;

async function readOfPrisma<T>(signal: AbortSignal, read: () => Promise<T>): Promise<T> {
  readsOfPrisma++;
  try {
    return await ofPrisma.run(signal, read);
  } finally {
    if (--readsOfPrisma === 0) ofPrisma.disable();
  }
}

/** Teaches a pool to end the statements of Prisma's reads. */
export function endAbortedReads(pool: pg.Pool): void {
  const query = pool.query.bind(pool) as (config: pg.QueryConfig) => Promise<pg.QueryResult>;
  const queryUntilAborted = (config: pg.QueryConfig) => {
    const signal = ofPrisma.getStore();
    return signal ? runUntilAborted(pool, config, signal) : query(config);
  };
  pool.query = queryUntilAborted as unknown as typeof pool.query;
}

type Model = Readonly<Record<string, (args: unknown) => PromiseLike<unknown>>>;

const isModel = (value: unknown): value is Model =>
  typeof value === 'object' && value !== null && 'findMany' in value;

/** The same Prisma client, whose models' reads end with the signal. Its own methods are left alone. */
export function withSignal(client: PrismaClient, signal: AbortSignal): PrismaClient {
  return new Proxy(client, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value === 'function') return value.bind(target);
      return isModel(value) ? modelWithSignal(value, signal) : value;
    },
  });
}

const modelWithSignal = (model: Model, signal: AbortSignal): Model =>
  new Proxy(model, {
    get: (target, method: string) => (args: unknown) =>
      // Prisma begins when it is awaited.
      readOfPrisma(signal, async () => await target[method]?.(args)),
  });

/** Runs a statement that is cancelled in Postgres, or not begun, when the signal aborts; it fails with its reason. */
export async function runUntilAborted(
  pool: pg.Pool,
  config: pg.QueryConfig,
  signal: AbortSignal,
): Promise<pg.QueryResult> {
  signal.throwIfAborted();
  const client = await pool.connect();
  let cancelled: Promise<void> | undefined;
  let isBroken = false;
  const cancel = () => {
    cancelled = cancelStatement(pool, client);
  };
  try {
    signal.throwIfAborted();
    signal.addEventListener('abort', cancel, { once: true });
    return await client.query(config);
  } catch (error) {
    isBroken = !signal.aborted;
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', cancel);
    await cancelled;
    // A cancel that arrives late must not meet the next one's statement, so the connection is not used again.
    client.release(isBroken || cancelled !== undefined);
  }
}

/** On a connection of its own: those of the pool may all be busy with what is to be cancelled. */
async function cancelStatement({ options }: pg.Pool, statement: pg.PoolClient): Promise<void> {
  const { processID } = statement as unknown as { processID: number };
  const client = new pg.Client({ connectionString: options.connectionString });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('SELECT pg_cancel_backend($1)', [processID]);
  } catch {
    // Then the statement timeout ends it.
  } finally {
    await client.end().catch(() => {});
  }
}
