import { expect, it } from 'vitest';
import { measureFairness } from '../support/fairness.js';

it('a webhook that hangs with a backlog of 10,000 leaves the p95 delay of a healthy one within twice its own', async () => {
  const figures = await measureFairness({ backlog: 10_000, messages: 500 });
  console.log(figures);
  expect(figures.besideMs).toBeLessThan(2 * figures.aloneMs);
});
