import { EventEmitter, once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type LaneWorker, workOnLane } from '../../src/jobs/lane.js';
import { Turn } from '../../src/jobs/turn.js';
import { type ClaimedDelivery, claimDeliveries } from '../../src/services/deliveries/claim.js';
import { dispatchEvents } from '../../src/services/deliveries/dispatch.js';
import { type Outcome, settleDeliveries } from '../../src/services/deliveries/settle.js';
import { startApp, type TestApp } from '../support/app.js';
import { receive, registerHandler } from '../support/signals.js';
import { registerWebhook, sendMessages } from '../support/webhooks.js';

const URL_OF_NOBODY = 'http://127.0.0.1:9/';

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ role: 'api' });
});
afterAll(() => app.close());

function delivered({ tenantId, id, leaseToken }: ClaimedDelivery): Outcome {
  const answer = { statusCode: 200, durationMs: 1, error: null, responseBody: null };
  const outcome = { status: 'delivered' as const, dueAt: null, at: new Date(), details: {} };
  return { tenantId, deliveryId: id, leaseToken, webhook: null, ...answer, ...outcome };
}

it.each(['signals', 'an ordered webhook'])(
  '%s: the next one is sent although it was looked for just before the one before was done',
  async (kind) => {
    const client = await app.tenant();
    if (kind === 'signals') {
      await registerHandler(client, { kind: 'HTTP', url: URL_OF_NOBODY });
      for (const text of ['first', 'second']) await receive(client, text);
    } else {
      await registerWebhook(client, URL_OF_NOBODY, { ordered: true });
      for (let count = 0; count < 2; count++) await sendMessages(client);
    }
    const { database, hints } = app.services;
    const { lanes } = await dispatchEvents(database);
    expect(lanes).toHaveLength(1);

    const turn = new Turn(() => false);
    const steps = new EventEmitter();
    const looked = once(steps, 'looked');
    const settled = once(steps, 'settled');
    const attempted: string[] = [];
    let looks = 0;
    const worker: Partial<LaneWorker> = {
      heartbeat: { hold: () => () => {}, stop: async () => {} },
      isStopping: () => false,
      // The second look sees the first delivery under way, and answers when that is done.
      async claim(look) {
        const isSecond = ++looks === 2;
        const [claim] = await claimDeliveries(database, [look]);
        if (!isSecond) return claim!;
        steps.emit('looked');
        await settled;
        await nextTurn();
        return claim!;
      },
      async attempt(delivery) {
        attempted.push(delivery.message!.id);
        turn.ring();
        await looked;
        return { outcome: delivered(delivery) };
      },
      async settle(outcome) {
        await settleDeliveries(database, hints, [outcome]);
        steps.emit('settled');
      },
    };
    await workOnLane(worker as LaneWorker, lanes[0]!, turn);
    expect(new Set(attempted).size).toBe(2);
  },
);
