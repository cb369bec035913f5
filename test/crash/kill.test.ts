import { expect, it } from 'vitest';
import { killRounds } from '../support/kill-rounds.js';
import { hasRedis, startRedis } from '../support/redis.js';

it('loses, doubles and reorders nothing when the process is killed under load (2 rounds)', async () => {
  const figures = await killRounds({ rounds: 2, longestLoadMs: 2_000, drainTimeoutMs: 40_000 });
  expect(figures.messages).toBeGreaterThan(0);
}, 90_000);

it.skipIf(!hasRedis)(
  'nor with the queues on Redis (2 rounds)',
  async () => {
    const { url } = await startRedis();
    const figures = await killRounds({
      rounds: 2,
      longestLoadMs: 2_000,
      drainTimeoutMs: 40_000,
      redisUrl: url,
    });
    expect(figures.messages).toBeGreaterThan(0);
  },
  90_000,
);
