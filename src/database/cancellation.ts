import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';

const current = new AsyncLocalStorage<AbortSignal>();

/**
 * Does work whose statements end when the signal aborts: those that run are cancelled in Postgres, further ones
 * are not begun, and all fail with the signal's reason. For reads: a write would be left in doubt. Transactions
 * of several statements are left alone.
 */
export async function untilAborted<T>(signal: AbortSignal, work: () => T | Promise<T>): Promise<T> {
  underWay++;
  try {
    return await current.run(signal, work);
  } finally {
    // While it has a store, Node looks after every promise of the process, which others pay for too.
    if (--underWay === 0) current.disable();
  }
}

let underWay = 0;

/** Teaches a pool to end the statements of work that was given a signal. */
export function endAborted(pool: pg.Pool): void {
  const query = pool.query.bind(pool) as (config: pg.QueryConfig) => Promise<pg.QueryResult>;
  const queryUntilAborted = (config: pg.QueryConfig) => {
    const signal = current.getStore();
    return signal ? raceAgainst(signal, (cancelWith) => run(pool, config, cancelWith)) : query(config);
  };
  pool.query = queryUntilAborted as unknown as typeof pool.query;
}

/** The work's outcome or the signal's reason, whichever comes first. */
function raceAgainst<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    work(signal)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', abort));
  });
}

async function run(pool: pg.Pool, config: pg.QueryConfig, signal: AbortSignal): Promise<pg.QueryResult> {
  const client = await pool.connect();
  let cancelled: Promise<void> | undefined;
  let isBroken = false;
  const cancel = () => {
    cancelled = cancelStatement(pool, client);
  };
  const onError = () => {
    isBroken = true;
  };
  client.on('error', onError);
  try {
    signal.throwIfAborted();
    signal.addEventListener('abort', cancel, { once: true });
    return await client.query(config);
  } catch (error) {
    isBroken = !signal.aborted;
    throw error;
  } finally {
    signal.removeEventListener('abort', cancel);
    await cancelled;
    client.off('error', onError);
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
