import { describe, expect, it } from 'vitest';
import { startApp, startAppForTest } from '../support/app.js';
import { startReceiver } from '../support/receiver.js';
import { hasRedis, startRedis } from '../support/redis.js';
import { receive, registerHandler, signalBecomes } from '../support/signals.js';

describe.skipIf(!hasRedis)('with the queues on a Redis that goes away', () => {
  it('stores messages meanwhile, and delivers them when it is back, empty', async () => {
    const redis = await startRedis();
    const app = await startAppForTest({ redisUrl: redis.url });
    const client = await app.tenant();
    const receiver = await startReceiver();
    await registerHandler(client, { kind: 'HTTP', url: receiver.url });
    const first = await receive(client, 'before');
    await signalBecomes(client, first.messageId, 'DELIVERED');

    await redis.kill();
    const startedAt = Date.now();
    const meanwhile = [
      await receive(client, 'meanwhile'),
      await receive(client, 'meanwhile', 'participant_2'),
    ];
    expect(Date.now() - startedAt).toBeLessThan(3_000);
    expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
    await redis.start();
    for (const { messageId } of meanwhile) await signalBecomes(client, messageId, 'DELIVERED', 25_000);
    expect(receiver.received.map(({ body }) => body.content.body)).toEqual([
      'before',
      'meanwhile',
      'meanwhile',
    ]);
  }, 60_000);

  it('sends what little there is all the same', async () => {
    const redis = await startRedis();
    const app = await startAppForTest({ redisUrl: redis.url });
    const client = await app.tenant();
    const receiver = await startReceiver();
    await redis.kill();
    const early = await receive(client, 'before there is a handler');
    await signalBecomes(client, early.messageId, 'PENDING');
    await registerHandler(client, { kind: 'HTTP', url: receiver.url });
    const late = await receive(client, 'late', 'participant_2');
    for (const { messageId } of [early, late]) await signalBecomes(client, messageId, 'DELIVERED');
    expect(receiver.received).toHaveLength(2);
  }, 60_000);

  it('does not send again what is under way when it is flushed, however long that takes', async () => {
    const redis = await startRedis();
    const app = await startAppForTest({ redisUrl: redis.url });
    const client = await app.tenant();
    // Longer than a lease and the sweep after it: without its doorbell only the heartbeat keeps it from others.
    const receiver = await startReceiver((_, response) => void setTimeout(() => response.end(), 12_000));
    await registerHandler(client, { kind: 'HTTP', url: receiver.url });
    const { messageId } = await receive(client, 'takes its time');
    await receiver.waitFor(1);
    await redis.flush();
    await signalBecomes(client, messageId, 'DELIVERED', 25_000);
    expect(receiver.received).toHaveLength(1);
  }, 60_000);

  it('starts without it, and delivers when it comes', async () => {
    const redis = await startRedis();
    await redis.kill();
    const app = await startAppForTest({ redisUrl: redis.url });
    const client = await app.tenant();
    const receiver = await startReceiver();
    await registerHandler(client, { kind: 'HTTP', url: receiver.url });
    const { messageId } = await receive(client, 'early');
    await redis.start();
    await signalBecomes(client, messageId, 'DELIVERED', 25_000);
  }, 60_000);

  it('stops within the grace time while it is away', async () => {
    const redis = await startRedis();
    const app = await startApp({ redisUrl: redis.url, shutdownGraceMs: 6_000 });
    await redis.kill();
    const startedAt = Date.now();
    await app.close();
    expect(Date.now() - startedAt).toBeLessThan(6_500);
  }, 60_000);
});
