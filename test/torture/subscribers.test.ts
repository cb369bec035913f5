import { it } from 'vitest';
import { idleSubscribers } from '../support/idle-subscribers.js';
import { slowSubscriber } from '../support/slow-subscriber.js';

it('a subscriber that reads nothing for 60 s under 500 messages a second costs the process little and the others nothing, and misses nothing', async () => {
  console.info(JSON.stringify(await slowSubscriber({ perSecond: 500, seconds: 60, bodyBytes: 1_000 })));
});

it('2,000 idle subscribers ask nothing of the database, and a message reaches them all', async () => {
  console.info(JSON.stringify(await idleSubscribers(2_000)));
});
