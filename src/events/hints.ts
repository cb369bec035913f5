import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Log } from '../log.js';

/**
 * "Something was committed": wakes the readers of the log in this process and, by a Postgres notification, in
 * all others. Hints carry no data and may be lost; whoever depends on the log also polls it.
 */
export interface Hints {
  /** Call after a commit, never inside a transaction: a NOTIFY there takes a database-wide lock at commit. */
  ring(): void;
  /** Calls the listener at every hint until the returned function is called. */
  onHint(listener: () => void): () => void;
  close(): Promise<void>;
}

const CHANNEL = 'parley_hint';
const RECONNECT_DELAY_MS = 500;
/** Of hints that follow each other sooner, the last one tells others of all. */
const PAUSE_MS = 10;

/** Keeps one connection that listens and notifies; when it breaks it is opened again, and readers poll meanwhile. */
export function openHints(connectionString: string, log: Log): Hints {
  const listeners = new Set<() => void>();
  const closing = new AbortController();
  let client: pg.Client | null = null;
  let notifying = false;
  let rungMeanwhile = false;

  const wake = () => {
    for (const listener of listeners) listener();
  };

  async function notify(): Promise<void> {
    if (notifying || client === null) {
      rungMeanwhile = true;
      return;
    }
    notifying = true;
    rungMeanwhile = false;
    await client.query(`NOTIFY ${CHANNEL}`).catch(() => {});
    await sleep(PAUSE_MS);
    notifying = false;
    if (rungMeanwhile) await notify();
  }

  async function listen(): Promise<void> {
    const next = new pg.Client({ connectionString, keepAlive: true, application_name: 'parley hints' });
    const ended = new Promise<void>((resolve) => next.once('end', resolve));
    next.on('error', (error) =>
      log.warn({ err: error }, 'the hint connection broke; polling until it is back'),
    );
    next.on('notification', wake);
    await next.connect();
    // A notification is a commit. This one may be lost, so no commit of a message is to wait for it to reach the disk.
    await next.query(`SET synchronous_commit = off; LISTEN ${CHANNEL}`);
    client = next;
    wake();
    if (rungMeanwhile) void notify();
    await Promise.race([ended, onAbort(closing.signal)]);
    client = null;
    await next.end().catch(() => {});
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      await listen().catch((error: unknown) => log.debug({ err: error }, 'cannot listen for hints yet'));
      await sleep(RECONNECT_DELAY_MS, undefined, { signal: closing.signal }).catch(() => {});
    }
  }

  const running = run();
  return {
    ring() {
      // Whoever waits for the commit hears of it first.
      setImmediate(() => {
        wake();
        void notify();
      });
    },
    onHint(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      closing.abort();
      await running;
    },
  };
}

const onAbort = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
