import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeId } from '../../src/ids.js';
import { startApp, startAppForTest, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { eventually, startReceiver } from '../support/receiver.js';
import {
  answers,
  deliveriesOf,
  deliveriesThat,
  hasStatus,
  onWebhook,
  registerWebhook,
  type ShownDelivery,
  sendMessages,
  webhookOf,
} from '../support/webhooks.js';

const LONG = 3_600;

/** Two processes' worth of Parley on one database: what is limited is limited over both. */
let app: TestApp;
let beside: TestApp;
beforeAll(async () => {
  app = await startApp({ webhookRetryScheduleSeconds: [0, LONG] });
  const { secretsKey } = app.services.config;
  beside = await startApp({
    webhookRetryScheduleSeconds: [0, LONG],
    databaseUrl: app.databaseUrl,
    bootstrapApiKey: app.apiKey,
    secretsKey,
  });
});
afterAll(async () => {
  await beside.close();
  await app.close();
});

const healthOf = async (id: string) => {
  const [row] = await query<{ failures: number; resting_until: Date | null; rest_seconds: number | null }>(
    app.databaseUrl,
    `SELECT failures, resting_until, extract(epoch FROM resting_until - now())::float8 AS rest_seconds
     FROM webhook_health WHERE webhook_id = $1`,
    [decodeId('webhook', id)],
  );
  return row!;
};

/** The most that happened within any second. */
const mostInASecond = (times: readonly number[]) =>
  Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + 1_000).length));

describe('a rate limit', () => {
  it.each([1, 7, 40])('of %d a second is kept over all processes', async (ratePerSecond) => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { id } = await registerWebhook(client, receiver.url, { ratePerSecond });
    const count = Math.max(4, Math.floor(ratePerSecond * 2.5));
    await sendMessages(client, count);
    const delivered = await deliveriesThat(client, id, hasStatus('DELIVERED'), count);
    expect(receiver.received).toHaveLength(count);
    // When they were sent: they may be held up on their way. A quarter of a second's worth may go at once.
    const sentAt = delivered.map(({ attempts }) => Date.parse(attempts[0]!.at));
    expect(mostInASecond(sentAt)).toBeLessThanOrEqual(ratePerSecond * 1.25 + 1);
  });

  it('that is taken away holds up nothing any more', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { id } = await registerWebhook(client, receiver.url, { ratePerSecond: 1 });
    await sendMessages(client, 60);
    await receiver.waitFor(1);
    await onWebhook(client, 'updateWebhook', { id, ratePerSecond: null });
    const startedAt = Date.now();
    await receiver.waitFor(60);
    expect(Date.now() - startedAt).toBeLessThan(8_000);
  });
});

describe('requests under way', () => {
  it('to one webhook are 20 at most, also when several workers look at it', async () => {
    const hasty = await startAppForTest({ webhookRetryScheduleSeconds: [0, 5, LONG] });
    const client = await hasty.tenant();
    let underWay = 0;
    let most = 0;
    const release: (() => void)[] = [];
    const receiver = await startReceiver(async ({ body }, response) => {
      if (body.event === 'webhook.test') return void response.writeHead(500).end();
      most = Math.max(most, ++underWay);
      await new Promise<void>((resolve) => release.push(resolve));
      underWay--;
      response.end();
    });
    const { id } = await registerWebhook(client, receiver.url);
    // The retry of the test brings a second worker, while the first one waits for answers.
    await client.data('mutation ($id: ID!) { sendTestWebhook(input: { id: $id }) { delivery { id } } }', {
      id,
    });
    const [test] = await deliveriesThat(client, id, ({ nextAttemptAt, attempts }) =>
      Boolean(nextAttemptAt && attempts.length === 1),
    );
    await sendMessages(client, 80);
    await receiver.waitFor(21);
    await eventually(async () => (await deliveriesOf(client, id)).length === 81);
    await eventually(() => Date.now() > Date.parse(test!.nextAttemptAt!) + 2_000);
    for (let done = 0; done < 80; ) {
      await eventually(() => release.length > 0);
      for (const letGo of release.splice(0)) {
        letGo();
        done++;
      }
    }
    await eventually(async () => (await deliveriesOf(client, id, 'DELIVERED')).length === 80);
    expect(most).toBe(20);
  });
});

describe('an ordered webhook', () => {
  it('gets its events in the order of the log, and none while an earlier one waits for its retry', async () => {
    const client = await app.tenant();
    const got: string[] = [];
    let mustFail = true;
    const receiver = await startReceiver(({ body }, response) => {
      const fails = mustFail && body.content.body === 'Hello 5';
      if (!fails) got.push(body.content.body);
      response.writeHead(fails ? 500 : 200).end();
    });
    const { id } = await registerWebhook(client, receiver.url, { ordered: true });
    const texts = Array.from({ length: 10 }, (_, index) => `Hello ${index}`);
    for (const [index, body] of texts.entries()) {
      await client.rest('POST', '/outbound', {
        workflowId: 'workflow_1',
        participantId: `participant_${index % 3}`,
        channel: 'chat',
        channelKey: 'key',
        content: { body },
      });
    }
    let failed: ShownDelivery | undefined;
    await eventually(async () => {
      const pending = await deliveriesOf(client, id, 'PENDING');
      failed = pending.find(({ attempts, nextAttemptAt }) => attempts.length > 0 && nextAttemptAt !== null);
      return pending.length === 5 && failed !== undefined;
    });
    expect(got).toEqual(texts.slice(0, 5));

    mustFail = false;
    await client.data('mutation ($id: ID!) { retryDelivery(input: { id: $id }) { delivery { id } } }', {
      id: failed!.id,
    });
    await receiver.waitFor(11);
    expect(got).toEqual(texts);
    await deliveriesThat(client, id, hasStatus('DELIVERED'), 10);
  });
});

describe('a webhook that only fails', () => {
  it('is left alone after a hundred failures, and gets its backlog when it is well again', async () => {
    const client = await app.tenant();
    let isWell = false;
    const receiver = await startReceiver((_, response) => void response.writeHead(isWell ? 200 : 500).end());
    const { id } = await registerWebhook(client, receiver.url);
    await sendMessages(client, 300);
    await receiver.waitFor(100);
    await eventually(async () => (await healthOf(id)).resting_until !== null);
    const probesFrom = receiver.received.length;
    expect(probesFrom).toBeLessThanOrEqual(120);
    await receiver.waitFor(probesFrom + 2);
    expect(receiver.received.length).toBeLessThan(130);
    const gaps = receiver.received.slice(-2).map(({ at }) => at);
    expect(gaps[1]! - gaps[0]!).toBeGreaterThan(900);

    isWell = true;
    const tried = receiver.received.length;
    await receiver.waitFor(300);
    await eventually(async () => (await healthOf(id)).failures === 0);
    expect((await webhookOf(client, id)).status).toBe('ENABLED');
    // What had failed waits for its own retry, an hour later.
    expect(receiver.received.slice(tried).every(({ body }) => body.event === 'message.created')).toBe(true);
    const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
    expect(new Set(ids).size).toBe(300);
  });

  it('is tried with one delivery at a time, after a tenth of the time that it has failed for', async () => {
    const client = await app.tenant();
    const hanging: (() => void)[] = [];
    const receiver = await startReceiver((_, response) => {
      hanging.push(() => void response.writeHead(500).end());
    });
    const { id } = await registerWebhook(client, receiver.url);
    const rests = (until: string) =>
      query(
        app.databaseUrl,
        `UPDATE webhook_health
         SET failures = 100, failing_since = now() - interval '500 seconds', resting_until = now() + $2::interval
         WHERE webhook_id = $1`,
        [decodeId('webhook', id), until],
      );
    await rests('1 hour');
    await sendMessages(client, 30);
    await eventually(async () => (await deliveriesOf(client, id)).length === 30);
    await rests('0 seconds');
    await receiver.waitFor(1);
    await eventually(async () => (await healthOf(id)).rest_seconds! < 0, { timeoutMs: 12_000 });
    expect(receiver.received).toHaveLength(1);
    hanging[0]!();
    await eventually(async () => (await healthOf(id)).failures === 101);
    const { rest_seconds: restSeconds } = await healthOf(id);
    expect(restSeconds).toBeGreaterThan(48);
    expect(restSeconds).toBeLessThan(54);

    // A test does not wait for the end of the rest, nor behind the backlog.
    const { sendTestWebhook } = await client.data(
      'mutation ($id: ID!) { sendTestWebhook(input: { id: $id }) { delivery { id } } }',
      { id },
    );
    const [, second] = await receiver.waitFor(2);
    expect(second!.headers['webhook-id']).toBe(sendTestWebhook.delivery.id);
    hanging[1]!();
  });

  it('now and then is not', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(
      answers(...Array.from({ length: 200 }, (_, n) => (n % 50 ? 500 : 200))),
    );
    const { id } = await registerWebhook(client, receiver.url);
    await sendMessages(client, 200);
    await receiver.waitFor(200);
    expect((await healthOf(id)).resting_until).toBeNull();
  });
});
