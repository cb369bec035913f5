import { it } from 'vitest';
import { idleSubscribers } from '../support/idle-subscribers.js';
import { slowSubscriber } from '../support/slow-subscriber.js';

/* Small rounds of what test/torture/subscribers.test.ts does. */

it('a subscriber that reads nothing costs the process little and the others nothing, and misses nothing', async () => {
  console.info(JSON.stringify(await slowSubscriber({ perSecond: 400, seconds: 3, bodyBytes: 20_000 })));
}, 120_000);

it('100 idle subscribers ask nothing of the database, and a message reaches them all', async () => {
  console.info(JSON.stringify(await idleSubscribers(100)));
}, 120_000);
