import { expect, it } from 'vitest';
import { measureFairness } from '../support/fairness.js';

/** On a machine that does other things too, a few milliseconds more are no sign of anything. */
const NOISE_MS = 100;

it('a webhook that hangs with a backlog does not delay a healthy one beside it', async () => {
  const { aloneMs, besideMs } = await measureFairness({ backlog: 400, messages: 40 });
  expect(besideMs).toBeLessThan(2 * aloneMs + NOISE_MS);
}, 120_000);
