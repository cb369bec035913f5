import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeId } from '../../src/ids.js';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { eventually, type Received, startReceiver } from '../support/receiver.js';
import {
  answers,
  deliveriesOf,
  deliveriesThat,
  hasStatus,
  holdDispatch,
  holdMessage,
  onWebhook,
  registerWebhook,
  type ShownDelivery,
  sendMessages,
  statusOf,
  waitsForLock,
  webhookOf,
} from '../support/webhooks.js';

/** An hour: what waits for a retry would not be sent within a test. */
const LONG = 3_600;

/** It was sent, in vain, and waits; one that was just made has a time for its next attempt too. */
const isToBeTriedAgain = ({ nextAttemptAt, attempts }: ShownDelivery) =>
  nextAttemptAt !== null && attempts.length > 0;

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ webhookRetryScheduleSeconds: [0, LONG] });
});
afterAll(() => app.close());

const retry = async (client: Client, id: string) => {
  const data = await client.data(
    'mutation ($id: ID!) { retryDelivery(input: { id: $id }) { delivery { id status } } }',
    { id },
  );
  return data.retryDelivery.delivery;
};

const recover = async (client: Client, id: string, since: Date): Promise<number> => {
  const data = await client.data(
    'mutation ($input: RecoverWebhookInput!) { recoverWebhook(input: $input) { recovered } }',
    { input: { id, since } },
  );
  return data.recoverWebhook.recovered;
};

const test = async (client: Client, id: string): Promise<string> => {
  const data = await client.data(
    'mutation ($id: ID!) { sendTestWebhook(input: { id: $id }) { delivery { id status } } }',
    { id },
  );
  return data.sendTestWebhook.delivery.id;
};

const expectConflict = async (client: Client, mutation: string, type: string, input: object) => {
  const { body } = await client.graphql(
    `mutation ($input: ${type}!) { ${mutation}(input: $input) { __typename } }`,
    { input },
  );
  expect(body.errors?.[0]?.extensions?.code).toBe('CONFLICT');
};

/** Changes what is known of how a webhook's receiver fared. */
const setHealth = (id: string, assignments: string) =>
  query(app.databaseUrl, `UPDATE webhook_health SET ${assignments} WHERE webhook_id = $1`, [
    decodeId('webhook', id),
  ]);

const healthOf = async (id: string) => {
  const [row] = await query(
    app.databaseUrl,
    'SELECT failures, failing_since, resting_until FROM webhook_health WHERE webhook_id = $1',
    [decodeId('webhook', id)],
  );
  return row;
};

describe('a paused webhook', () => {
  it('gets nothing, and when it is resumed everything that came meanwhile', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const other = await startReceiver();
    const { id } = await registerWebhook(client, receiver.url);
    await registerWebhook(client, other.url);
    expect((await onWebhook(client, 'pauseWebhook', { id })).webhook.status).toBe('PAUSED');
    const messageIds = await sendMessages(client, 3);
    await other.waitFor(3);
    await deliveriesThat(client, id, hasStatus('PENDING'), 3);
    expect(receiver.received).toEqual([]);

    expect((await onWebhook(client, 'resumeWebhook', { id })).webhook.status).toBe('ENABLED');
    await receiver.waitFor(3);
    expect(receiver.received.map(({ body }) => body.messageId).sort()).toEqual(messageIds.sort());
    await deliveriesThat(client, id, hasStatus('DELIVERED'), 3);
  });
});

describe('a rotated secret', () => {
  it('signs beside the old one, the new one first, and alone once the day is over', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { id, secret: old } = await registerWebhook(client, receiver.url);
    const { secret: fresh } = await onWebhook(client, 'rotateWebhookSecret', { id });
    expect(fresh).toMatch(/^whsec_/);
    expect(fresh).not.toBe(old);

    await sendMessages(client);
    const [during] = await receiver.waitFor(1);
    const signatures = String(during!.headers['webhook-signature']).split(' ');
    expect(signatures).toHaveLength(2);
    for (const secret of [old, fresh]) {
      expect(new Webhook(secret).verify(during!.bytes, during!.headers as never)).toBeTruthy();
    }
    const firstOnly = { ...during!.headers, 'webhook-signature': signatures[0] };
    expect(new Webhook(fresh).verify(during!.bytes, firstOnly as never)).toBeTruthy();

    await query(
      app.databaseUrl,
      `UPDATE webhook SET previous_secrets = jsonb_set(previous_secrets, '{0,expiresAt}', '"2020-01-01T00:00:00.000Z"')
       WHERE id = $1`,
      [decodeId('webhook', id)],
    );
    await sendMessages(client);
    const [, after] = await receiver.waitFor(2);
    expect(String(after!.headers['webhook-signature']).split(' ')).toHaveLength(1);
    expect(new Webhook(fresh).verify(after!.bytes, after!.headers as never)).toBeTruthy();
    expect(() => new Webhook(old).verify(after!.bytes, after!.headers as never)).toThrow();
  });

  it('may be given, which is not answered, and given again, which changes nothing', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { id } = await registerWebhook(client, receiver.url);
    const secret = 'a secret of their own';
    for (const _ of [1, 2]) {
      expect((await onWebhook(client, 'rotateWebhookSecret', { id, secret })).secret).toBeNull();
    }
    await sendMessages(client);
    const [received] = await receiver.waitFor(1);
    expect(String(received!.headers['webhook-signature']).split(' ')).toHaveLength(2);
    const verifier = new Webhook(secret, { format: 'raw' });
    expect(verifier.verify(received!.bytes, received!.headers as never)).toBeTruthy();
  });

  it('is kept encrypted, and so are the old ones', async () => {
    const client = await app.tenant();
    const { id, secret: old } = await registerWebhook(client, 'http://127.0.0.1:9/');
    const { secret } = await onWebhook(client, 'rotateWebhookSecret', { id });
    const [row] = await query(
      app.databaseUrl,
      `SELECT encode(sealed_secret, 'escape') || previous_secrets::text AS stored FROM webhook WHERE id = $1`,
      [decodeId('webhook', id)],
    );
    for (const each of [old, secret]) expect(row!.stored).not.toContain(each.slice(6));
  });
});

describe('a test', () => {
  it('is sent whatever the webhook subscribed to, signed, and on record', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { id, secret } = await registerWebhook(client, receiver.url, { events: ['thread.deleted'] });
    const deliveryId = await test(client, id);
    const [received] = await receiver.waitFor(1);
    expect(received!.headers['webhook-id']).toBe(deliveryId);
    expect(new Webhook(secret).verify(received!.bytes, received!.headers as never)).toBeTruthy();
    expect(received!.body).toEqual({
      event: 'webhook.test',
      webhookId: id,
      tenantId: client.tenantId,
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      signature: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    const [delivery] = await deliveriesThat(client, id, hasStatus('DELIVERED'));
    expect(delivery).toMatchObject({ id: deliveryId, event: 'webhook.test' });
    const shown = await client.data(
      'query ($id: ID!) { delivery(id: $id) { message { id } thread { id } webhook { id } } }',
      { id: deliveryId },
    );
    expect(shown.delivery).toEqual({ message: null, thread: null, webhook: { id } });
  });

  it('cannot be subscribed to', async () => {
    const client = await app.tenant();
    const { body } = await client.rest('POST', '/outbound/webhook', {
      url: 'http://127.0.0.1:9/',
      events: ['webhook.test'],
    });
    expect(body.error.details).toMatchObject([{ field: 'events[0]' }]);
  });
});

describe('a delivery that is sent again', () => {
  it('after it has failed goes out at once, and makes its message delivered', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(500, 500, 200));
    const { id } = await registerWebhook(client, receiver.url);
    const [messageId] = await sendMessages(client);
    await receiver.waitFor(1);
    const [waiting] = await deliveriesThat(client, id, isToBeTriedAgain);
    await retry(client, waiting!.id);
    await deliveriesThat(client, id, hasStatus('FAILED'));
    expect(await statusOf(client, messageId!)).toBe('FAILED');

    expect(await retry(client, waiting!.id)).toEqual({ id: waiting!.id, status: 'PENDING' });
    const [delivered] = await deliveriesThat(client, id, hasStatus('DELIVERED'));
    expect(delivered!.attempts.map(({ statusCode }) => statusCode)).toEqual([500, 500, 200]);
    expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id']))).toEqual(
      new Set([waiting!.id]),
    );
    expect(await statusOf(client, messageId!)).toBe('DELIVERED');
  });

  it('after it was delivered stays delivered, and its message too, although it then fails for good', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(200, 500));
    const { id } = await registerWebhook(client, receiver.url);
    const [messageId] = await sendMessages(client);
    const [delivery] = await deliveriesThat(client, id, hasStatus('DELIVERED'));
    await retry(client, delivery!.id);
    await receiver.waitFor(2);
    await deliveriesThat(client, id, ({ attempts }) => attempts.length === 2);
    await retry(client, delivery!.id);
    await receiver.waitFor(3);
    const [after] = await deliveriesThat(client, id, hasStatus('DELIVERED'));
    expect(after!.attempts.map(({ statusCode }) => statusCode)).toEqual([200, 500, 500]);
    expect(await statusOf(client, messageId!)).toBe('DELIVERED');
  });

  it('after it was delivered stays delivered, although its thread is deleted before it is sent again', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(200, 500));
    const { id } = await registerWebhook(client, receiver.url);
    const [messageId] = await sendMessages(client);
    const [delivery] = await deliveriesThat(client, id, hasStatus('DELIVERED'));
    await retry(client, delivery!.id);
    await receiver.waitFor(2);
    await deliveriesThat(client, id, ({ attempts }) => attempts.length === 2);
    const { threadId } = (await client.rest('GET', `/messages/${messageId}`)).body;
    await client.rest('DELETE', `/threads/${threadId}?permanent=true`);
    expect((await deliveriesOf(client, id)).map(({ status }) => status)).toEqual(['DELIVERED']);
  });

  it('goes before a backlog', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { id } = await registerWebhook(client, receiver.url, { ratePerSecond: 1 });
    await sendMessages(client);
    await receiver.waitFor(1);
    const [first] = await deliveriesThat(client, id, hasStatus('DELIVERED'));
    await sendMessages(client, 15);
    await eventually(async () => (await deliveriesOf(client, id)).length === 16);
    // All but one have been due for long.
    await query(
      app.databaseUrl,
      `UPDATE delivery SET due_at = now() - interval '1 minute'
       WHERE lane_id = $1 AND status = 'pending' AND id <> (SELECT max(id::text)::uuid FROM delivery WHERE lane_id = $1)`,
      [decodeId('webhook', id)],
    );
    await retry(client, first!.id);
    const before = receiver.received.length;
    await receiver.waitFor(2, ({ headers }) => headers['webhook-id'] === first!.id);
    expect(receiver.received.length - before).toBeLessThan(5);
  });

  it('is refused when its message is gone', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(500));
    const { id } = await registerWebhook(client, receiver.url);
    const sent = await client.rest('POST', '/outbound', {
      workflowId: 'workflow_1',
      participantId: 'participant_1',
      channel: 'chat',
      channelKey: 'key',
      content: { body: 'Hello' },
    });
    const [waiting] = await deliveriesThat(client, id, isToBeTriedAgain);
    await retry(client, waiting!.id);
    const [failed] = await deliveriesThat(client, id, hasStatus('FAILED'));
    await client.rest('DELETE', `/threads/${sent.body.threadId}?permanent=true`);
    await expectConflict(client, 'retryDelivery', 'IdInput', { id: failed!.id });
    expect(await recover(client, id, new Date(0))).toBe(0);
  });
});

describe('recovering', () => {
  it('sends what has failed since then again, each once, and spread over time', async () => {
    const client = await app.tenant();
    let isWell = false;
    const receiver = await startReceiver((_, response) => void response.writeHead(isWell ? 200 : 500).end());
    const { id } = await registerWebhook(client, receiver.url);
    const [early] = await sendMessages(client);
    await receiver.waitFor(1);
    const since = new Date();
    const late = await sendMessages(client, 45);
    await receiver.waitFor(46);
    await query(
      app.databaseUrl,
      "UPDATE delivery SET status = 'failed', due_at = NULL WHERE lane_id = $1 AND lease_token IS NULL",
      [decodeId('webhook', id)],
    );
    await deliveriesThat(client, id, hasStatus('FAILED'), 46);

    isWell = true;
    await onWebhook(client, 'pauseWebhook', { id });
    const startedAt = Date.now();
    expect(await recover(client, id, since)).toBe(45);
    expect(await recover(client, id, since)).toBe(0);
    const dueAts = (await deliveriesOf(client, id, 'PENDING')).map((each) => Date.parse(each.nextAttemptAt!));
    // 45 at 20 a second.
    expect(Math.max(...dueAts) - startedAt).toBeGreaterThanOrEqual(2_200);
    await onWebhook(client, 'resumeWebhook', { id });
    await receiver.waitFor(46 + 45);
    await eventually(async () => (await deliveriesOf(client, id, 'DELIVERED')).length === 45);
    const again = receiver.received.slice(46).map(({ body }) => body.messageId);
    expect(again.sort()).toEqual(late.sort());
    expect(again).not.toContain(early);
    expect((await deliveriesOf(client, id, 'FAILED')).length).toBe(1);
  });
});

describe('a webhook that answers 410', () => {
  it('is disabled: what is pending has failed, and nothing more is sent until it is resumed', async () => {
    const client = await app.tenant();
    const statuses = [500, 500, 500, 410, 200];
    const receiver = await startReceiver(answers(...statuses));
    const { id } = await registerWebhook(client, receiver.url);
    const first = await sendMessages(client, 3);
    await deliveriesThat(client, id, isToBeTriedAgain, 3);
    const [gone] = await sendMessages(client);
    await eventually(async () => (await webhookOf(client, id)).status === 'DISABLED');
    expect((await webhookOf(client, id)).disabledReason).toBe('gone');

    const deliveries = await deliveriesThat(client, id, hasStatus('FAILED'), 4);
    expect(deliveries[0]!.attempts.map(({ statusCode }) => statusCode)).toEqual([410]);
    for (const messageId of [...first, gone!]) {
      await eventually(async () => (await statusOf(client, messageId)) === 'FAILED');
    }
    await expectConflict(client, 'sendTestWebhook', 'IdInput', { id });
    await expectConflict(client, 'pauseWebhook', 'IdInput', { id });
    await expectConflict(client, 'retryDelivery', 'IdInput', { id: deliveries[0]!.id });
    await expectConflict(client, 'recoverWebhook', 'RecoverWebhookInput', { id, since: new Date(0) });
    await sendMessages(client);
    const { webhook } = await onWebhook(client, 'resumeWebhook', { id });
    expect(webhook).toMatchObject({ status: 'ENABLED', disabledReason: null });
    const [after] = await sendMessages(client);
    await receiver.waitFor(5);
    // What came while it was disabled was not for it.
    expect(receiver.received.map(({ body }) => body.messageId)).toEqual([
      ...receiver.received.slice(0, 4).map(({ body }) => body.messageId),
      after,
    ]);
    expect(await recover(client, id, new Date(0))).toBe(4);
    await deliveriesThat(client, id, hasStatus('DELIVERED'), 5);
  });

  it('gets what came while it was enabled and nothing else, though all is dispatched later', async () => {
    const client = await app.tenant();
    const isTest = ({ body }: Received) => body.event === 'webhook.test';
    const receiver = await startReceiver((request, response) => {
      response.writeHead(isTest(request) ? 410 : 200).end();
    });
    const { id } = await registerWebhook(client, receiver.url);
    const letDispatch = await holdDispatch(app.databaseUrl, client.tenantId);
    const whileEnabled: string[] = [];
    for (let times = 0; times < 2; times++) {
      whileEnabled.push(...(await sendMessages(client, 2)));
      await test(client, id);
      await eventually(async () => (await webhookOf(client, id)).status === 'DISABLED');
      await sendMessages(client, 2);
      await onWebhook(client, 'resumeWebhook', { id });
    }
    whileEnabled.push(...(await sendMessages(client)));
    await letDispatch();

    // Those of the tests have failed.
    await eventually(async () => (await deliveriesOf(client, id, 'DELIVERED')).length >= 5);
    expect(await deliveriesOf(client, id)).toHaveLength(7);
    const sent = receiver.received.filter((request) => !isTest(request));
    expect(sent.map(({ body }) => body.messageId).sort()).toEqual(whileEnabled.sort());
  });

  it('has failed for what came before it was disabled, though that is dispatched later, and recovers it', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(410, 200));
    const { id } = await registerWebhook(client, receiver.url);
    const letDispatch = await holdDispatch(app.databaseUrl, client.tenantId);
    const [before] = await sendMessages(client);
    await test(client, id);
    await eventually(async () => (await webhookOf(client, id)).status === 'DISABLED');
    await sendMessages(client);
    await letDispatch();

    await deliveriesThat(client, id, hasStatus('FAILED'), 2);
    await eventually(async () => (await statusOf(client, before!)) === 'FAILED');
    await onWebhook(client, 'resumeWebhook', { id });
    expect(await recover(client, id, new Date(0))).toBe(2);
    await deliveriesThat(client, id, hasStatus('DELIVERED'), 2);
    expect(receiver.received.map(({ body }) => body.messageId)).toContain(before);
  });

  it('has failed for what came while its answer was being recorded', async () => {
    const client = await app.tenant();
    const held: (() => Promise<void>)[] = [];
    const receiver = await startReceiver(async ({ body }, response) => {
      held.push(await holdMessage(app.databaseUrl, body.messageId));
      response.writeHead(410).end();
    });
    const { id } = await registerWebhook(client, receiver.url);
    await sendMessages(client);
    await waitsForLock(app.databaseUrl, 'locked_message');
    const letDispatch = await holdDispatch(app.databaseUrl, client.tenantId);
    const [second] = await sendMessages(client);
    expect((await webhookOf(client, id)).status).toBe('ENABLED');
    await held[0]!();
    await eventually(async () => (await webhookOf(client, id)).status === 'DISABLED');
    await letDispatch();

    await deliveriesThat(client, id, hasStatus('FAILED'), 2);
    await eventually(async () => (await statusOf(client, second!)) === 'FAILED');
  });

  it('keeps what is pending and recovers the rest, though it is being given up when it is resumed', async () => {
    const client = await app.tenant();
    const messageIds: string[] = [];
    const held: (() => Promise<void>)[] = [];
    const receiver = await startReceiver(async ({ body }, response) => {
      if (held.length > 0) return void response.end();
      await eventually(async () => (await deliveriesOf(client, id)).length === 4);
      const another = messageIds.find((messageId) => messageId !== body.messageId);
      held.push(await holdMessage(app.databaseUrl, another!));
      response.writeHead(410).end();
    });
    const { id } = await registerWebhook(client, receiver.url, { ordered: true });
    messageIds.push(...(await sendMessages(client, 4)));
    await eventually(async () => (await webhookOf(client, id)).status === 'DISABLED');
    await waitsForLock(app.databaseUrl, 'doomed');
    await onWebhook(client, 'resumeWebhook', { id });
    await recover(client, id, new Date(0));
    await held[0]!();
    await deliveriesThat(client, id, hasStatus('DELIVERED'), 4);
  });

  it('is not disabled by what its old URL answers once it has a new one', async () => {
    const client = await app.tenant();
    const answering: (() => void)[] = [];
    const old = await startReceiver((_, response) => {
      answering.push(() => response.writeHead(410).end());
    });
    const fresh = await startReceiver();
    const { id } = await registerWebhook(client, old.url, { ordered: true });
    const [first] = await sendMessages(client);
    const [second] = await sendMessages(client);
    await old.waitFor(1);
    await onWebhook(client, 'updateWebhook', { id, url: fresh.url });
    answering[0]!();
    await fresh.waitFor(1);
    expect(fresh.received[0]!.body.messageId).toBe(second);
    expect(await statusOf(client, first!)).toBe('FAILED');
    expect(await webhookOf(client, id)).toMatchObject({ status: 'ENABLED', disabledReason: null });
    expect(await recover(client, id, new Date(0))).toBe(1);
    await deliveriesThat(client, id, hasStatus('DELIVERED'), 2);
  });
});

describe('a webhook that fails', () => {
  it('for five days is disabled, and not a day earlier', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(500));
    const { id } = await registerWebhook(client, receiver.url);
    await setHealth(id, "failures = 7, failing_since = now() - interval '4 days 23 hours'");
    await sendMessages(client);
    await deliveriesThat(client, id, isToBeTriedAgain);
    expect((await webhookOf(client, id)).status).toBe('ENABLED');

    await setHealth(id, "failing_since = failing_since - interval '1 hour'");
    await sendMessages(client);
    await eventually(async () => (await webhookOf(client, id)).status === 'DISABLED');
    expect((await webhookOf(client, id)).disabledReason).toBe('failing');
    await deliveriesThat(client, id, hasStatus('FAILED'), 2);

    await onWebhook(client, 'resumeWebhook', { id });
    expect(await healthOf(id)).toEqual({ failures: 0, failing_since: null, resting_until: null });
  });

  it('and then succeeds begins anew', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { id } = await registerWebhook(client, receiver.url);
    await setHealth(id, "failures = 7, failing_since = now() - interval '6 days'");
    await sendMessages(client);
    await deliveriesThat(client, id, hasStatus('DELIVERED'));
    expect(await healthOf(id)).toEqual({ failures: 0, failing_since: null, resting_until: null });
    expect((await webhookOf(client, id)).status).toBe('ENABLED');
  });

  it('begins anew at another URL', async () => {
    const client = await app.tenant();
    const { id } = await registerWebhook(client, 'http://127.0.0.1:9/');
    await setHealth(
      id,
      "failures = 700, failing_since = now() - interval '1 day', resting_until = now() + interval '1 day'",
    );
    await onWebhook(client, 'updateWebhook', { id, url: 'http://127.0.0.1:9/' });
    expect(await healthOf(id)).toMatchObject({ failures: 700 });
    await onWebhook(client, 'updateWebhook', { id, url: 'http://127.0.0.1:9/other' });
    expect(await healthOf(id)).toEqual({ failures: 0, failing_since: null, resting_until: null });
  });
});
