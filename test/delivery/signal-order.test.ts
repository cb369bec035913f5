import { describe, expect, it } from 'vitest';
import { type Backend, orderUnderFailures, surviveDisaster } from '../support/delivery-scenarios.js';
import { hasRedis } from '../support/redis.js';

const backends: Backend[] = hasRedis ? ['postgres', 'redis'] : ['postgres'];

describe.each(backends)('with the queues on %s', (backend) => {
  it('the signals of 40 threads arrive in order while 10 % of the requests fail', async () => {
    const figures = await orderUnderFailures({
      backend,
      threads: 40,
      messages: 8,
      failureRate: 0.1,
      timeoutMs: 60_000,
    });
    expect(figures.requests).toBeGreaterThan(320);
  }, 90_000);

  it('300 signals arrive although Postgres is restarted in the middle of them', async () => {
    const options = { backend, deliveries: 300, awayMs: 0, timeoutMs: 60_000 };
    await surviveDisaster({ ...options, disaster: 'Postgres is restarted' });
  }, 120_000);
});

describe.skipIf(!hasRedis)('with the queues on redis', () => {
  it('300 signals arrive although Redis is flushed in the middle of them', async () => {
    const options = { backend: 'redis' as const, deliveries: 300, awayMs: 0, timeoutMs: 60_000 };
    await surviveDisaster({ ...options, disaster: 'Redis is flushed' });
  }, 120_000);
});
