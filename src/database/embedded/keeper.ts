import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Log } from '../../log.js';

const RETRY_INTERVAL_MS = 1_000;

/** Watches the owner's connection, which ends only with the server, and calls `revive` until it succeeds. */
export function keepAlive(first: pg.Client, revive: () => Promise<pg.Client>, log: Log) {
  let owner = first;
  let stopping = false;
  let revival: Promise<void> | undefined;

  const watch = () => {
    owner.once('end', () => {
      if (!stopping) revival = bringBack();
    });
  };
  const bringBack = async () => {
    log.error('lost embedded Postgres: bringing it back');
    while (!stopping) {
      try {
        owner = await revive();
        watch();
        log.info('embedded Postgres is back');
        return;
      } catch (error) {
        log.error({ err: error }, 'embedded Postgres did not come back yet');
        await delay(RETRY_INTERVAL_MS);
      }
    }
  };

  watch();
  return {
    /** Ends the watch and returns the connection that owns the server. */
    async stop(): Promise<pg.Client> {
      stopping = true;
      await revival;
      return owner;
    },
  };
}
