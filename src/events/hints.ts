import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Log } from '../log.js';

/**
 * "Something was committed": wakes the readers of the log in this process and, by a Postgres notification, in
 * all others. Hints carry no data and may be lost; whoever depends on the log also polls it.
 */
export interface Hints {
  /**
   * Call after a commit, never inside a transaction: a NOTIFY there takes a database-wide lock at commit.
   * @param bring is called first, and hands this process's live feed what was committed; answers whether the feed has it all
   */
  ring(bring?: () => boolean): void;
  /**
   * Calls the listener at every hint until the returned function is called.
   * @param listener is told whether the live feed of this process was brought what the hint is about
   */
  onHint(listener: (isBrought: boolean) => void): () => void;
  close(): Promise<void>;
}

const CHANNEL = 'parley_hint';
const RECONNECT_DELAY_MS = 500;
/** Of hints that follow each other sooner, the last one tells others of all. */
const PAUSE_MS = 10;
/** Every process says so often that it is there: where nobody else is, there is nobody to notify. */
const HERE_INTERVAL_MS = 5_000;
/** A process that was not heard of for so long is gone, or cannot hear either. */
const GONE_AFTER_MS = 4 * HERE_INTERVAL_MS;

/**
 * Keeps one connection that listens and notifies; when it breaks it is opened again, and readers poll meanwhile.
 * A notification is a round trip and a commit, so a process that is alone gives none but the one that says it is here.
 * Who hears a process for the first time answers, so that two know of each other at once.
 */
export function openHints(connectionString: string, log: Log): Hints {
  const listeners = new Set<(isBrought: boolean) => void>();
  const closing = new AbortController();
  const closed = onAbort(closing.signal);
  let client: pg.Client | null = null;
  let notifying = false;
  let rungMeanwhile = false;
  /** When the others were last heard, by the process of Postgres that serves them. */
  const heard = new Map<number, number>();

  const wake = (isBrought = false) => {
    for (const listener of listeners) listener(isBrought);
  };

  function hear(from: number | undefined): void {
    if (from !== undefined && from === processIdOf(client)) return;
    wake();
    if (from === undefined) return;
    const isNew = !heard.has(from);
    heard.set(from, performance.now());
    if (isNew) void notify();
  }

  function isAlone(): boolean {
    for (const [process, at] of heard) if (performance.now() - at > GONE_AFTER_MS) heard.delete(process);
    return heard.size === 0;
  }

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
    next.on('notification', ({ processId }) => hear(processId));
    await next.connect();
    // A notification is a commit. This one may be lost, so no commit of a message is to wait for it to reach the disk.
    await next.query(`SET synchronous_commit = off; LISTEN ${CHANNEL}`);
    client = next;
    wake();
    void notify();
    const sayHere = setInterval(() => void notify(), HERE_INTERVAL_MS);
    await Promise.race([ended, closed]);
    clearInterval(sayHere);
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
    ring(bring = () => false) {
      // Whoever waits for the commit hears of it first.
      setImmediate(() => {
        wake(bring());
        if (!isAlone()) void notify();
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

/** The process of Postgres behind a connection, which pg's types do not know. */
const processIdOf = (client: pg.Client | null) => (client as { processID?: number } | null)?.processID;

const onAbort = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
