import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeId } from '../../src/ids.js';
import { startApp, startAppForTest, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { eventually, startReceiver } from '../support/receiver.js';
import { deliveriesOf, onWebhook, registerWebhook, sendMessages } from '../support/webhooks.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ webhookRetryScheduleSeconds: [0, 3_600] });
});
afterAll(() => app.close());

async function scrape(parley: TestApp): Promise<string> {
  const response = await fetch(`${parley.url}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  return response.text();
}

/** The value of a sample, by its name and labels as they are written. */
async function sampleOf(parley: TestApp, sample: string): Promise<number | undefined> {
  const line = (await scrape(parley)).split('\n').find((each) => each.startsWith(`${sample} `));
  return line === undefined ? undefined : Number(line.slice(sample.length + 1));
}

const becomes = (parley: TestApp, sample: string, value: number) =>
  eventually(async () => (await sampleOf(parley, sample)) === value, {
    describe: () => `${sample} ${value}`,
  });

describe('/metrics', () => {
  it('counts and times attempts by what came of them, and requests by their route', async () => {
    const client = await app.tenant();
    const well = await startReceiver();
    const ill = await startReceiver((_, response) => void response.writeHead(503).end());
    await registerWebhook(client, well.url);
    await registerWebhook(client, ill.url);
    await sendMessages(client, 3);
    await well.waitFor(3);
    await ill.waitFor(3);
    const attempts = 'parley_delivery_attempts_total';
    await becomes(app, `${attempts}{kind="webhook",status="delivered",error=""}`, 3);
    await becomes(app, `${attempts}{kind="webhook",status="pending",error="http_5xx"}`, 3);
    const count = 'parley_delivery_attempt_duration_seconds_count';
    expect(await sampleOf(app, `${count}{kind="webhook",status="delivered"}`)).toBe(3);
    const route = '/api/agent/conversations/outbound';
    const requests = `parley_http_request_duration_seconds_count{method="POST",route="${route}",status="200"}`;
    expect(await sampleOf(app, requests)).toBe(3);
    expect(await scrape(app)).toContain('process_cpu_seconds_total');
  });

  it('shows what waits and for how long, without what is paused', async () => {
    const own = await startAppForTest();
    const client = await own.tenant();
    const { id } = await registerWebhook(client, 'http://127.0.0.1:9/');
    await onWebhook(client, 'pauseWebhook', { id });
    await sendMessages(client, 4);
    await client.rest('POST', '/inbound', {
      workflowId: 'without_handler',
      participantId: 'participant_1',
      channel: 'chat',
      channelKey: 'key',
      content: { body: 'Hello' },
    });
    await eventually(async () => (await deliveriesOf(client, id)).length === 4);
    await becomes(own, 'parley_deliveries_pending{kind="webhook"}', 4);
    await becomes(own, 'parley_signals_without_handler', 1);
    expect(await sampleOf(own, 'parley_deliveries_due{kind="webhook"}')).toBe(0);
    expect(await sampleOf(own, 'parley_events_undispatched')).toBe(0);

    // As if it could be sent to, and nobody did.
    await query(own.databaseUrl, `UPDATE webhook SET rate_per_second = 1 WHERE id = $1`, [
      decodeId('webhook', id),
    ]);
    await query(
      own.databaseUrl,
      `UPDATE webhook_health SET rated_until = now() + interval '1 hour' WHERE webhook_id = $1`,
      [decodeId('webhook', id)],
    );
    await query(
      own.databaseUrl,
      `UPDATE delivery SET due_at = now() - interval '90 seconds' WHERE lane_id = $1`,
      [decodeId('webhook', id)],
    );
    await onWebhook(client, 'resumeWebhook', { id });
    await becomes(own, 'parley_deliveries_due{kind="webhook"}', 4);
    const age = await sampleOf(own, 'parley_delivery_oldest_due_age_seconds{kind="webhook"}');
    expect(age).toBeGreaterThanOrEqual(90);
    expect(age).toBeLessThan(120);
  });

  it('needs no key, and names no tenant, address or id', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    await registerWebhook(client, receiver.url);
    await sendMessages(client);
    await receiver.waitFor(1);
    await fetch(`${app.url}/no-such-path/${client.tenantId}`);
    await client.rest('GET', `/threads/${client.tenantId}`);
    const text = await scrape(app);
    for (const mark of [
      client.tenantId,
      client.apiKey,
      receiver.url,
      '127.0.0.1',
      'participant_',
      'workflow_1',
    ]) {
      expect(text).not.toContain(mark);
    }
  });
});
