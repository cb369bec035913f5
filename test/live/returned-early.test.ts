import { expect, it } from 'vitest';
import { startAppForTest } from '../support/app.js';

it('a subscription that is returned at any moment of its beginning comes to its end', async () => {
  const { services } = await startAppForTest();
  const { liveFeed } = services;
  for (let turns = 0; turns < 40; turns++) {
    for (const after of [null, 0n]) {
      const events = liveFeed.subscribe('default', after, {
        threadId: '00000000-0000-0000-0000-000000000000',
      });
      const next = events.next();
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      await events.return?.();
      expect(await next).toEqual({ done: true, value: undefined });
    }
  }
});
