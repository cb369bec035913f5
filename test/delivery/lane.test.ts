import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { startReceiver } from '../support/receiver.js';
import { registerHandler } from '../support/signals.js';
import { registerWebhook } from '../support/webhooks.js';

const MESSAGES = 150;
/** A sweep rings for what has been due for a second. */
const SWEPT_AFTER_MS = 950;

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

/** Answers when the next message is there, so that the lane looks for it about when it hears that this one is done. */
async function delaysOf(client: Client, register: (url: string) => Promise<unknown>, direction: string) {
  const sentAt: number[] = [];
  async function sendNext() {
    if (sentAt.length === MESSAGES) return;
    sentAt.push(Date.now());
    const message = { participantId: 'participant_1', channel: 'chat', channelKey: 'key' };
    await client.rest('POST', direction, {
      workflowId: 'workflow_1',
      ...message,
      content: { body: 'Hello' },
    });
  }
  const receiver = await startReceiver(async (_, response) => {
    await sendNext();
    response.end();
  });
  await register(receiver.url);
  await sendNext();
  const received = await receiver.waitFor(MESSAGES);
  return received.map(({ at }, index) => at - sentAt[index]!);
}

it.each(['signals', 'an ordered webhook'])(
  '%s: the next message is sent when the one before is done, sooner than any sweep would find it',
  async (kind) => {
    const client = await app.tenant();
    const delays = await (kind === 'signals'
      ? delaysOf(client, (url) => registerHandler(client, { kind: 'HTTP', url }), '/inbound')
      : delaysOf(client, (url) => registerWebhook(client, url, { ordered: true }), '/outbound'));
    // A machine under load may make single ones slow.
    expect(delays.filter((delay) => delay >= SWEPT_AFTER_MS).length).toBeLessThanOrEqual(2);
  },
  90_000,
);
