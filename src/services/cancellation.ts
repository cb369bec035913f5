import { untilAborted } from '../database/client.js';
import type { Context } from './context.js';

/** For transports, which know no database: the services for reads that end when a signal aborts. */
export const readsUntilAborted = (services: Context, signal: AbortSignal): Context => ({
  ...services,
  database: untilAborted(services.database, signal),
});
