import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApp, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { eventually, startReceiver } from '../support/receiver.js';
import { receive, registerHandler, signalBecomes, signalOf } from '../support/signals.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ signalRetryScheduleSeconds: [0, 60], deliveryDeadlineMs: 60_000 });
});
afterAll(() => app.close());

/** Holds every request until it is told to answer. */
async function startHoldingReceiver() {
  const held = new Set<ServerResponse>();
  let isHolding = true;
  let most = 0;
  const receiver = await startReceiver((_, response) => {
    if (!isHolding) return void response.end();
    held.add(response);
    most = Math.max(most, held.size);
  });
  return {
    ...receiver,
    mostAtOnce: () => most,
    answerAll() {
      isHolding = false;
      for (const response of held) response.end();
    },
  };
}

describe('a workflow whose handler hangs', () => {
  it('has at most 50 signals under way, leaves all others alone, and gets the rest when it answers', async () => {
    const slow = await app.tenant();
    const other = await app.tenant();
    const holding = await startHoldingReceiver();
    const quick = await startReceiver();
    await registerHandler(slow, { kind: 'HTTP', url: holding.url });
    await registerHandler(slow, { workflowId: 'workflow_2', kind: 'HTTP', url: quick.url });
    await registerHandler(other, { kind: 'HTTP', url: quick.url });
    const stuck: { messageId: string }[] = [];
    for (let count = 0; count < 120; count += 20) {
      const some = Array.from({ length: 20 }, (_, index) => receive(slow, 'stuck', `p_${count + index}`));
      stuck.push(...(await Promise.all(some)));
    }
    await holding.waitFor(50);

    const ownSecond = await receive(slow, 'quick', 'participant_1', 'workflow_2');
    const ofOther = await receive(other, 'quick');
    await signalBecomes(slow, ownSecond.messageId, 'DELIVERED', 5_000);
    await signalBecomes(other, ofOther.messageId, 'DELIVERED', 5_000);
    expect(holding.mostAtOnce()).toBe(50);

    holding.answerAll();
    for (const { messageId } of stuck) await signalBecomes(slow, messageId, 'DELIVERED', 10_000);
    expect(holding.received).toHaveLength(120);
  }, 60_000);
});

describe('a signal without a handler', () => {
  it('goes out when one is registered, sooner than any sweep would find it', async () => {
    const delays: number[] = [];
    for (let round = 1; round <= 5; round++) {
      const client = await app.tenant();
      const { messageId } = await receive(client, 'waits');
      await eventually(async () => {
        const { status, nextAttemptAt } = await signalOf(client, messageId);
        return status === 'PENDING' && nextAttemptAt === null;
      });
      const handler = await startReceiver();
      const startedAt = Date.now();
      await registerHandler(client, { kind: 'HTTP', url: handler.url });
      const [arrived] = await handler.waitFor(1);
      delays.push(arrived!.at - startedAt);
    }
    // A sweep rings for what has been due for a second; a machine under load may make single rounds slow.
    expect(Math.min(...delays)).toBeLessThan(950);
  });

  it('has failed as expired after 7 days, with those behind it that are as old', async () => {
    const client = await app.tenant();
    const old = [await receive(client, '1'), await receive(client, '2')];
    const young = await receive(client, '3');
    for (const { messageId } of old) {
      await eventually(async () => (await signalOf(client, messageId)).status === 'PENDING');
    }
    await query(
      app.databaseUrl,
      `UPDATE delivery SET occurred_at = now() - interval '7 days 1 minute'
       WHERE tenant_id = $1 AND event_sequence < (SELECT max(event_sequence) FROM delivery WHERE tenant_id = $1)`,
      [client.tenantId],
    );
    for (const { messageId } of old) {
      await signalBecomes(client, messageId, 'FAILED');
      expect(await signalOf(client, messageId)).toMatchObject({
        messageStatus: 'FAILED',
        log: ['CREATED', 'FAILED'],
        attempts: [{ statusCode: null, error: 'expired' }],
      });
    }
    expect((await signalOf(client, young.messageId)).status).toBe('PENDING');
    const handler = await startReceiver();
    await registerHandler(client, { kind: 'HTTP', url: handler.url });
    await signalBecomes(client, young.messageId, 'DELIVERED');
    expect(handler.received.map(({ body }) => body.content.body)).toEqual(['3']);
  });
});
