import { type Database, untilAborted } from '../database/client.js';
import type { Context } from './context.js';

/**
 * For transports, which know no database: the services for reads that end when a signal aborts. The signal is asked for
 * when something is read.
 */
export function readsUntilAborted(services: Context, signal: () => AbortSignal): Context {
  let database: Database | undefined;
  return {
    ...services,
    get database() {
      database ??= untilAborted(services.database, signal());
      return database;
    },
  };
}
