import { describe, expect, it } from 'vitest';
import { queuesOn } from '../support/app.js';
import { measureFairness } from '../support/fairness.js';
import { startRedis } from '../support/redis.js';

describe.each(['postgres', 'redis'])('with the queues on %s', (backend) => {
  it('a webhook that hangs with a backlog of 10,000 leaves the p95 delay of a healthy one within twice its own', async () => {
    queuesOn(backend === 'redis' ? (await startRedis()).url : null);
    const figures = await measureFairness({ backlog: 10_000, messages: 500 });
    process.stdout.write(`p95 beside a hanging webhook, ${backend}: ${JSON.stringify(figures)}\n`);
    expect(figures.besideMs).toBeLessThan(2 * figures.aloneMs);
  });
});
