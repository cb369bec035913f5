import { describe, expect, it } from 'vitest';
import { killRounds } from '../support/kill-rounds.js';
import { startRedis } from '../support/redis.js';

const ROUNDS = 100;

describe.each(['Postgres', 'Redis'])('with the queues on %s', (backend) => {
  it(`loses, doubles and reorders nothing when the process is killed under load (${ROUNDS} rounds)`, async () => {
    const redis = backend === 'Redis' ? await startRedis() : null;
    const figures = await killRounds({
      rounds: ROUNDS,
      longestLoadMs: 4_000,
      drainTimeoutMs: 600_000,
      ...(redis && { redisUrl: redis.url }),
    });
    process.stdout.write(`${ROUNDS} rounds of kill -9, ${backend}: ${JSON.stringify(figures)}\n`);
    expect(figures.cutOff).toBeGreaterThan(0);
  }, 3_600_000);
});
