import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

/** Any number that nothing else locks in the database `postgres`. */
const OWNER_LOCK = 7_265_902;

/** How long the server may take to notice that the previous owner was killed. */
const PREVIOUS_OWNER_GRACE_MS = 1_000;
const RETRY_INTERVAL_MS = 50;

/** Another Parley, alive, holds this data directory. */
export class DataDirectoryInUseError extends Error {}

/**
 * Makes this process the only Parley on the cluster for as long as the returned connection lives: it holds an
 * advisory lock, which, unlike a lock file, cannot outlast its owner.
 */
export async function takeOwnership(connectionString: string, home: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString, application_name: 'parley-owner' });
  client.on('error', () => {}); // the caller listens for 'end', which follows
  await client.connect();
  try {
    const deadline = Date.now() + PREVIOUS_OWNER_GRACE_MS;
    while (!(await tryLock(client))) {
      if (Date.now() > deadline) {
        throw new DataDirectoryInUseError(`Another Parley is running with this data directory (${home}).`);
      }
      await delay(RETRY_INTERVAL_MS);
    }
    return client;
  } catch (error) {
    await client.end();
    throw error;
  }
}

/**
 * Whether connecting failed for a reason that passes: the server recovers from the crash of a session, or its
 * previous owner is just shutting it down.
 */
export function isPassingFault(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  const cannotConnectNow = '57P03';
  return (
    code === cannotConnectNow ||
    code === 'ECONNREFUSED' ||
    code === 'ECONNRESET' ||
    message === 'Connection terminated unexpectedly'
  );
}

async function tryLock(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [
    OWNER_LOCK,
  ]);
  return rows[0]?.locked === true;
}
