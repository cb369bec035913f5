/** For transports, which know no database: reads that end when a signal aborts. */
export { untilAborted } from '../database/cancellation.js';
