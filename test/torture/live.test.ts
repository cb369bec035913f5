import { afterAll, beforeAll, it } from 'vitest';
import { startApp, type TestApp } from '../support/app.js';
import { loadThenSubscribe } from '../support/load-then-subscribe.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

/** On a machine that has other things to do a round takes many times as long. */
const TIMEOUT_MS = 1_800_000;

it(
  'a client that loads, then subscribes misses nothing of 1,000 messages written meanwhile, 50 times over',
  async () => {
    const durations: number[] = [];
    for (let round = 0; round < 50; round++) {
      const startedAt = performance.now();
      await loadThenSubscribe(app, await app.tenant(), 1_000);
      durations.push(Math.round(performance.now() - startedAt));
    }
    console.log(`50 rounds, in milliseconds: ${durations.join(' ')}`);
  },
  TIMEOUT_MS,
);
