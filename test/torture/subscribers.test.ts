import { once } from 'node:events';
import { expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { startAppForTest } from '../support/app.js';
import { idleSubscribers } from '../support/idle-subscribers.js';
import { slowSubscriber } from '../support/slow-subscriber.js';

it('a subscriber that reads nothing for 60 s under 500 messages a second costs the process little and the others nothing, and misses nothing', async () => {
  console.info(JSON.stringify(await slowSubscriber({ perSecond: 500, seconds: 60, bodyBytes: 1_000 })));
});

it('2,000 idle subscribers ask nothing of the database, and a message reaches them all', async () => {
  console.info(JSON.stringify(await idleSubscribers(2_000)));
});

it('a client that answers pings no more, though there is nothing to read, is cut off within half a minute', async () => {
  const app = await startAppForTest();
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
    autoPong: false,
  });
  await once(socket, 'open');
  const init = { type: 'connection_init', payload: { authorization: `Bearer ${app.apiKey}` } };
  socket.send(JSON.stringify(init));
  const [data] = await once(socket, 'ping');
  socket.pong(data);
  const answeredAt = Date.now();
  expect((await once(socket, 'close'))[0]).toBe(1006);
  expect(Date.now() - answeredAt).toBeLessThan(30_000);
});
