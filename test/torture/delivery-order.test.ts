import { describe, it } from 'vitest';
import {
  type Backend,
  type Disaster,
  orderUnderFailures,
  surviveDisaster,
} from '../support/delivery-scenarios.js';

const show = (what: string, figures: object) => process.stdout.write(`${what}: ${JSON.stringify(figures)}\n`);

describe.each<Backend>(['postgres', 'redis'])('with the queues on %s', (backend) => {
  it('the signals of 1,000 threads with 20 messages each arrive in order while 10 % of the requests fail', async () => {
    const options = { backend, threads: 1_000, messages: 20, failureRate: 0.1, timeoutMs: 600_000 };
    show(`1,000 × 20 in order, ${backend}`, await orderUnderFailures(options));
  }, 900_000);

  const disasters: Disaster[] =
    backend === 'redis'
      ? ['Postgres is restarted', 'Redis is flushed', 'Redis is away for a while']
      : ['Postgres is restarted'];
  it.each(disasters)(
    'all of 5,000 signals arrive when %s in the middle of them',
    async (disaster) => {
      const options = { backend, disaster, deliveries: 5_000, awayMs: 30_000, timeoutMs: 300_000 };
      show(`${disaster}, ${backend}`, await surviveDisaster(options));
    },
    900_000,
  );
});
