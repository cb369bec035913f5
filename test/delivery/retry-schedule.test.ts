import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config.js';
import { delayBeforeAttempt, retryAfterMs } from '../../src/delivery/retry-schedule.js';

const { signalRetryScheduleSeconds, webhookRetryScheduleSeconds } = parseConfig({});

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;

/** All delays of a schedule, until it says that there is no further attempt. */
function delays(schedule: readonly number[], random: () => number): number[] {
  const found: number[] = [];
  for (;;) {
    const delay = delayBeforeAttempt(schedule, found.length, random);
    if (delay === null) return found;
    found.push(delay);
  }
}

describe('the delay before an attempt', () => {
  it('follows the documented webhook schedule and then ends', () => {
    expect(delays(webhookRetryScheduleSeconds, () => 0.5)).toEqual([
      0,
      5 * second,
      5 * minute,
      30 * minute,
      2 * hour,
      5 * hour,
      10 * hour,
      10 * hour,
    ]);
  });

  it('follows the documented signal schedule and then ends', () => {
    expect(delays(signalRetryScheduleSeconds, () => 0.5)).toEqual(
      [0, 1, 5, 30, 120, 600].map((s) => s * second),
    );
  });

  it('is 20 % shorter at the least and 20 % longer at the most', () => {
    expect(delays([0, 10], () => 0)).toEqual([0, 8 * second]);
    expect(delays([0, 10], () => 1)).toEqual([0, 12 * second]);
  });

  it('differs from call to call within those bounds, but stays 0 where the schedule says at once', () => {
    const seen = Array.from({ length: 200 }, () => delayBeforeAttempt([0, 100], 1) ?? -1);
    expect(new Set(seen).size).toBeGreaterThan(100);
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(80 * second);
    expect(Math.max(...seen)).toBeLessThanOrEqual(120 * second);
    expect(delayBeforeAttempt([0, 100], 0)).toBe(0);
  });

  it('is null for an empty schedule', () => {
    expect(delayBeforeAttempt([], 0)).toBeNull();
  });
});

describe('Retry-After', () => {
  const nowMs = Date.UTC(1994, 10, 6, 8, 49, 7);

  it.each<[string | null | undefined, number | null]>([
    ['0', 0],
    ['120', 120 * second],
    [' 5 ', 5 * second],
    ['86400', 24 * hour],
    ['86401', 24 * hour],
    ['9'.repeat(400), 24 * hour],
    ['Sun, 06 Nov 1994 08:49:37 GMT', 30 * second],
    ['Sunday, 06-Nov-94 08:49:37 GMT', 30 * second],
    ['Sun Nov  6 08:49:37 1994', 30 * second],
    ['Sun, 06 Nov 1994 08:00:00 GMT', 0],
    ['Wed, 01 Jan 2200 00:00:00 GMT', 24 * hour],
    ['Sun, 99 Nov 1994 08:49:37 GMT', null],
    ['-5', null],
    ['1.5', null],
    ['1e3', null],
    ['0x10', null],
    ['soon', null],
    ['tomorrow 1', null],
    ['1994-11-06T08:49:37Z', null],
    ['', null],
    [null, null],
    [undefined, null],
  ])('%j asks for %s ms', (value, expected) => {
    expect(retryAfterMs(value, nowMs)).toBe(expected);
  });
});
