import type { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible';
import { ParleyError } from '../errors.js';
import type { Log } from '../log.js';

const WINDOW_SECONDS = 60;

/** What a key still has in its current minute, which begins with the first thing that it spends. */
export interface Allowance {
  readonly limit: number;
  readonly remaining: number;
  /** Until the budget is whole again; at least 1. */
  readonly resetSeconds: number;
}

/** A budget by the minute, for each key one of its own. */
export interface RateLimiter {
  /** @throws RateLimited when fewer points are left; it then costs nothing. Never fails otherwise. */
  consume(key: string, points?: number): Promise<Allowance>;
}

/** The error `rate_limited`, with what its answer tells about when to try again. */
export class RateLimited extends ParleyError {
  constructor(
    budget: string,
    readonly allowance: Allowance,
  ) {
    const { limit, resetSeconds } = allowance;
    super(
      'rate_limited',
      `The API key has used up its ${budget} (${limit} a minute); try again in ${resetSeconds} s`,
    );
  }
}

/** The headers that clients read a budget from. */
export const allowanceHeaders = ({ limit, remaining, resetSeconds }: Allowance) => ({
  'ratelimit-limit': limit,
  'ratelimit-remaining': remaining,
  'ratelimit-reset': resetSeconds,
});

export interface RateLimiterOptions {
  /** What is counted, as callers read it and as Redis names it: `requests`. */
  readonly budget: string;
  readonly pointsPerMinute: number;
  /** Shares the budgets between processes. Null: each process counts for itself. */
  readonly redis: Redis | null;
  readonly log: Log;
}

/**
 * Makes a limiter. While Redis is away, or does not answer, every process counts for itself: nobody's request
 * fails or hangs for it.
 */
export function createRateLimiter({ budget, pointsPerMinute, redis, log }: RateLimiterOptions): RateLimiter {
  const options = { keyPrefix: `parley:${budget}`, points: pointsPerMinute, duration: WINDOW_SECONDS };
  const local = new RateLimiterMemory(options);
  const shared =
    redis && new RateLimiterRedis({ ...options, storeClient: redis, rejectIfRedisNotReady: true });
  let isAlone = false;

  /** Does it in Redis when that can be, in memory otherwise, and says once when that changes. */
  async function withStore<Result>(use: (store: RateLimiterMemory | RateLimiterRedis) => Promise<Result>) {
    if (!shared) return use(local);
    try {
      const result = await use(shared);
      if (isAlone) log.info({ budget }, 'rate limits are shared through Redis again');
      isAlone = false;
      return result;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if (!isAlone) log.warn({ err: error, budget }, 'rate limits are counted by each process alone');
      isAlone = true;
      return use(local);
    }
  }

  return {
    async consume(key, points = 1) {
      try {
        return allowanceOf(await withStore((store) => store.consume(key, points)));
      } catch (refusal) {
        if (refusal instanceof Error) throw refusal;
        // The library counts what it refuses too: a costly request would take the little that is left with it.
        const left = points > 1 ? await withStore((store) => store.reward(key, points)) : refusal;
        throw new RateLimited(budget, allowanceOf(left as RateLimiterRes));
      }
    },
  };

  function allowanceOf({ remainingPoints, msBeforeNext }: RateLimiterRes): Allowance {
    const resetSeconds = Math.max(1, Math.ceil(msBeforeNext / 1_000));
    return { limit: pointsPerMinute, remaining: remainingPoints, resetSeconds };
  }
}
