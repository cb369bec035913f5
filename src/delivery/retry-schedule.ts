const JITTER = 0.2;
const LONGEST_RETRY_AFTER_MS = 24 * 60 * 60 * 1000;

/**
 * How long to wait, in milliseconds, before the next attempt when `attemptsMade` have been made, or null when
 * the schedule is exhausted. ±20 % jitter, so that receivers that failed together are not retried together;
 * a delay of 0 stays 0. `random` returns a number from 0 to 1, as `Math.random` does.
 */
export function delayBeforeAttempt(
  scheduleSeconds: readonly number[],
  attemptsMade: number,
  random: () => number = Math.random,
): number | null {
  const seconds = scheduleSeconds[attemptsMade];
  if (seconds === undefined) return null;
  return Math.round(seconds * 1000 * (1 - JITTER + 2 * JITTER * random()));
}

/**
 * The wait that a `Retry-After` header asks for, in milliseconds from `nowMs`: seconds or an HTTP date (RFC 9110,
 * sections 10.2.3 and 5.6.7). At most 24 hours, so that a receiver cannot park a delivery for ever; 0 for a date
 * that has passed; null without the header or if it is neither.
 */
export function retryAfterMs(headerValue: string | null | undefined, nowMs: number): number | null {
  const value = headerValue?.trim() ?? '';
  const waitMs = /^\d+$/.test(value) ? Number(value) * 1000 : parseHttpDateMs(value) - nowMs;
  return Number.isNaN(waitMs) ? null : Math.min(Math.max(waitMs, 0), LONGEST_RETRY_AFTER_MS);
}

// `Date.parse` alone takes far too much for a date ("-5", "tomorrow 1"), so the three forms that RFC 9110 tells
// recipients to accept are recognised first. The last one carries no time zone; it is defined to be GMT.
const DATE_WITH_GMT = /^\w+, \d{2}[ -]\w{3}[ -]\d{2,4} \d{2}:\d{2}:\d{2} GMT$/;
const ASCTIME_DATE = /^\w{3} \w{3} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/;

function parseHttpDateMs(value: string): number {
  if (DATE_WITH_GMT.test(value)) return Date.parse(value);
  if (ASCTIME_DATE.test(value)) return Date.parse(`${value} GMT`);
  return Number.NaN;
}
