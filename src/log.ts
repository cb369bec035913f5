import { pino } from 'pino';

/** The part of pino's logger that Parley uses; fields first, then a message. */
export type Log = Pick<
  ReturnType<typeof pino>,
  'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'level'
>;

/**
 * The process log: one JSON object per line on standard error, so that standard output stays free for what a
 * person at the terminal should read. Credentials never reach it: requests are logged without headers.
 */
export function createLog(level: string): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
}
