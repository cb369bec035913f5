import { type Database, untilAborted } from '../database/client.js';
import type { Context } from './context.js';

/**
 * For transports, which know no database: makes the services for reads that end when a signal aborts. The signal is
 * asked for when something is read. All else is inherited, so that every one of them has the same shape for the engine.
 */
export function createReads(services: Context): (signal: () => AbortSignal) => Context {
  class Reads {
    #database: Database | undefined;

    constructor(private readonly signal: () => AbortSignal) {}

    get database(): Database {
      this.#database ??= untilAborted(services.database, this.signal());
      return this.#database;
    }
  }
  Object.setPrototypeOf(Reads.prototype, services);
  return (signal) => new Reads(signal) as Reads & Context;
}
