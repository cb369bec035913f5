import { createHmac } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { signingKey } from '../../src/delivery/signing.js';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { eventually, type Received, startReceiver } from '../support/receiver.js';
import { holdDispatch } from '../support/webhooks.js';

const DEADLINE_MS = 2_000;

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ webhookRetryScheduleSeconds: [0, 1, 1], deliveryDeadlineMs: DEADLINE_MS });
});
afterAll(() => app.close());

/** Answers with these statuses in turn, and with the last of them from then on. */
const answers =
  (...statuses: number[]) =>
  (_: Received, response: ServerResponse) => {
    const status = statuses.length > 1 ? statuses.shift()! : statuses[0]!;
    response.writeHead(status).end(`answer ${status}`);
  };

/** Never answers; the connection ends with the test, or with Parley's patience. */
const hang = () => {};

async function register(client: Client, url: string, events: string[]) {
  const { registerWebhook } = await client.data(
    `mutation ($input: RegisterWebhookInput!) { registerWebhook(input: $input) { secret webhook { id } } }`,
    { input: { url, events } },
  );
  return { id: registerWebhook.webhook.id as string, secret: registerWebhook.secret as string };
}

async function send(client: Client, participantId = 'participant_1') {
  const { body } = await client.rest('POST', '/outbound', {
    workflowId: 'workflow_1',
    participantId,
    channel: 'chat',
    channelKey: participantId,
    content: { body: 'Hello' },
  });
  return body as { messageId: string; threadId: string };
}

const move = (client: Client, messageId: string, status: string) =>
  client.data(
    `mutation ($input: UpdateMessageStatusInput!) { updateMessageStatus(input: $input) { message { status } } }`,
    { input: { messageId, status } },
  );

interface Delivery {
  id: string;
  event: string;
  status: string;
  nextAttemptAt: string | null;
  attempts: { at: string; statusCode: number | null; error: string | null; responseBody: string | null }[];
}

async function deliveriesOf(client: Client, webhookId: string): Promise<Delivery[]> {
  const { webhook } = await client.data(
    `query ($id: ID!) {
       webhook(id: $id) {
         deliveries(first: 100) {
           edges { node { id event status nextAttemptAt attempts { at statusCode error responseBody } } }
         }
       }
     }`,
    { id: webhookId },
  );
  return webhook.deliveries.edges.map(({ node }: { node: Delivery }) => node);
}

async function settled(client: Client, webhookId: string, count = 1): Promise<Delivery[]> {
  let deliveries: Delivery[] = [];
  await eventually(
    async () => {
      deliveries = await deliveriesOf(client, webhookId);
      return deliveries.length >= count && deliveries.every(({ status }) => status !== 'PENDING');
    },
    { describe: () => `${count} settled deliveries, got ${JSON.stringify(deliveries)}` },
  );
  return deliveries;
}

/** The only delivery of a webhook once it has been tried, and is not being tried. */
async function tried(client: Client, webhookId: string): Promise<Delivery> {
  let delivery: Delivery | undefined;
  await eventually(async () => {
    [delivery] = await deliveriesOf(client, webhookId);
    return delivery !== undefined && delivery.attempts.length > 0 && delivery.nextAttemptAt !== null;
  });
  return delivery!;
}

async function messageOf(client: Client, id: string) {
  const { message } = await client.data(
    'query ($id: ID!) { message(id: $id) { status logs { event details } } }',
    { id },
  );
  return {
    status: message.status as string,
    log: message.logs.map(({ event }: { event: string }) => event) as string[],
  };
}

const deleteWebhook = (client: Client, id: string) =>
  client.data('mutation ($input: IdInput!) { deleteWebhook(input: $input) { deletedId } }', {
    input: { id },
  });

const becomes = (client: Client, messageId: string, status: string) =>
  eventually(async () => (await messageOf(client, messageId)).status === status, {
    describe: () => `the message to become ${status}`,
  });

describe('an attempt that fails', () => {
  it('is made again with the same id and bytes and a signature of its own time, and every one is kept', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(500, 500, 200));
    const { id, secret } = await register(client, receiver.url, ['message.created']);
    await send(client);

    const received = await receiver.waitFor(3);
    const [delivery] = await settled(client, id);
    expect(received).toHaveLength(3);
    expect(delivery!.id).toMatch(/^delivery_/);
    for (const { headers, bytes } of received) {
      expect(headers['webhook-id']).toBe(delivery!.id);
      expect(bytes.equals(received[0]!.bytes)).toBe(true);
      expect(new Webhook(secret).verify(bytes, headers as never)).toBeTruthy();
    }
    const timestamps = received.map(({ headers }) => Number(headers['webhook-timestamp']));
    expect(timestamps[2]).toBeGreaterThan(timestamps[0]!);
    expect(timestamps).toEqual(delivery!.attempts.map(({ at }) => Math.floor(Date.parse(at) / 1_000)));

    const text = received[0]!.bytes.toString();
    const [, unsigned, signature] = /^(.*),"signature":"([0-9a-f]{64})"\}$/s.exec(text) ?? [];
    expect(signature).toBe(createHmac('sha256', signingKey(secret)).update(`${unsigned}}`).digest('hex'));

    expect(delivery).toMatchObject({ status: 'DELIVERED', nextAttemptAt: null });
    expect(delivery!.attempts).toEqual([
      { at: expect.any(String), statusCode: 500, error: 'http_500', responseBody: 'answer 500' },
      { at: expect.any(String), statusCode: 500, error: 'http_500', responseBody: 'answer 500' },
      { at: expect.any(String), statusCode: 200, error: null, responseBody: 'answer 200' },
    ]);
    const byId = await client.data(
      'query ($id: ID!) { delivery(id: $id) { status attempts { statusCode } webhook { id } } }',
      { id: delivery!.id },
    );
    expect(byId.delivery).toEqual({
      status: 'DELIVERED',
      attempts: [{ statusCode: 500 }, { statusCode: 500 }, { statusCode: 200 }],
      webhook: { id },
    });
  });

  it('is given up when the schedule is exhausted', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(503));
    const { id } = await register(client, receiver.url, ['message.created']);
    await send(client);
    const [delivery] = await settled(client, id);
    expect(delivery).toMatchObject({ status: 'FAILED', nextAttemptAt: null });
    expect(delivery!.attempts).toHaveLength(3);
    expect(receiver.received).toHaveLength(3);
  });

  it('says why: a redirect, which is not followed, a hanging and an unreachable receiver', async () => {
    const client = await app.tenant();
    const elsewhere = await startReceiver();
    const redirecting = await startReceiver(
      (_, response) => void response.writeHead(302, { location: elsewhere.url }).end(),
    );
    const hanging = await startReceiver(hang);
    const urls = [redirecting.url, hanging.url, 'http://127.0.0.1:1'];
    const webhooks = await Promise.all(urls.map((url) => register(client, url, ['message.created'])));
    await send(client);
    const firstErrors = await Promise.all(
      webhooks.map(async ({ id }) => (await tried(client, id)).attempts[0]!.error),
    );
    expect(firstErrors).toEqual(['redirect_refused', 'timeout', 'connection_failed']);
    expect(elsewhere.received).toEqual([]);
  });

  it('waits for as long as a busy receiver asks', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(
      (_, response) => void response.writeHead(429, { 'retry-after': '3600' }).end(),
    );
    const { id } = await register(client, receiver.url, ['message.created']);
    await send(client);
    const delivery = await tried(client, id);
    const waitMs = Date.parse(delivery.nextAttemptAt!) - Date.parse(delivery.attempts[0]!.at);
    expect(waitMs).toBeGreaterThanOrEqual(3_600_000);
    expect(waitMs).toBeLessThan(3_660_000);
  });

  it('never reaches a forbidden address, also when the row came to point there later', async () => {
    const client = await app.tenant();
    const { id } = await register(client, 'http://127.0.0.1:1', ['message.created']);
    await query(app.databaseUrl, 'UPDATE webhook SET url = $1 WHERE tenant_id = $2', [
      'http://169.254.169.254/latest/meta-data',
      client.tenantId,
    ]);
    await send(client);
    expect((await tried(client, id)).attempts[0]).toMatchObject({
      error: 'forbidden_address',
      statusCode: null,
    });
  });
});

describe('a webhook', () => {
  it('gets the events that it asked for, of outbound messages and threads, and no others', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const paths = {
      created: ['message.created'],
      threads: ['thread.created', 'thread.updated', 'thread.deleted'],
    };
    for (const [path, events] of Object.entries(paths)) {
      await register(client, `${receiver.url}/${path}`, events);
    }
    const inbound = await client.rest('POST', '/inbound', {
      workflowId: 'workflow_1',
      participantId: 'participant_1',
      channel: 'chat',
      channelKey: 'participant_1',
      content: { body: 'Hello' },
    });
    const { messageId, threadId } = await send(client);
    expect(threadId).toBe(inbound.body.threadId);
    await client.rest('PUT', `/threads/${threadId}`, { status: 'closed', metadata: { topic: 'bill' } });
    await becomes(client, messageId, 'DELIVERED');
    await client.rest('DELETE', `/threads/${threadId}?permanent=true`);

    const received = await receiver.waitFor(4);
    const at = (path: string) => received.filter((request) => request.path === path).map(({ body }) => body);
    expect(at('/created')).toMatchObject([{ event: 'message.created', messageId, direction: 'outbound' }]);
    const thread = {
      threadId,
      tenantId: client.tenantId,
      workflowId: 'workflow_1',
      participantId: 'participant_1',
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      signature: expect.stringMatching(/^[0-9a-f]{64}$/),
    };
    expect(at('/threads').sort((a, b) => (a.timestamp < b.timestamp ? -1 : 1))).toEqual([
      { ...thread, event: 'thread.created', status: 'active', metadata: {} },
      { ...thread, event: 'thread.updated', status: 'closed', metadata: { topic: 'bill' } },
      { ...thread, event: 'thread.deleted', status: 'closed', metadata: { topic: 'bill' } },
    ]);
  });

  it('gets a status move under the name message.updated or under its own, never under both', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const specific = ['message.delivered', 'message.read', 'message.failed'];
    const webhooks = await Promise.all([
      register(client, `${receiver.url}/general`, ['message.updated']),
      register(client, `${receiver.url}/specific`, specific),
      register(client, `${receiver.url}/both`, ['message.updated', ...specific]),
    ]);
    const { messageId } = await send(client);
    await move(client, messageId, 'DELIVERED');
    await move(client, messageId, 'DELIVERED');
    await move(client, messageId, 'READ');
    await receiver.waitFor(6);
    for (const { id } of webhooks) expect(await settled(client, id, 2)).toHaveLength(2);

    const moves = (path: string) =>
      receiver.received
        .filter((request) => request.path === path)
        .map(({ body }) => [body.event, body.status])
        .sort();
    const general = [
      ['message.updated', 'delivered'],
      ['message.updated', 'read'],
    ];
    expect(moves('/general')).toEqual(general);
    expect(moves('/both')).toEqual(general);
    expect(moves('/specific')).toEqual([
      ['message.delivered', 'delivered'],
      ['message.read', 'read'],
    ]);
  });

  it('gets nothing older than itself, not even what had not been dispatched yet', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const letDispatch = await holdDispatch(app.databaseUrl, client.tenantId);
    for (let count = 0; count < 5; count++) await send(client);
    const { id } = await register(client, receiver.url, ['message.created']);
    const { messageId } = await send(client);
    await letDispatch();

    await receiver.waitFor(1);
    expect(await settled(client, id)).toHaveLength(1);
    expect(receiver.received.map(({ body }) => body.messageId)).toEqual([messageId]);
  });

  it('gets nothing more once it is deleted, not even the retry that was due', async () => {
    const client = await app.tenant();
    const deleted = await startReceiver(answers(500));
    const kept = await startReceiver(answers(500, 500, 200));
    const { id } = await register(client, deleted.url, ['message.created']);
    const other = await register(client, kept.url, ['message.created']);
    await send(client);
    await deleted.waitFor(1);
    await deleteWebhook(client, id);
    const before = deleted.received.length;

    // The other webhook has the same schedule: when its last retry has come, this one's would have, too.
    await settled(client, other.id);
    expect(kept.received).toHaveLength(3);
    expect(deleted.received).toHaveLength(before);
    expect((await client.data('query ($id: ID!) { webhook(id: $id) { id } }', { id })).webhook).toBeNull();
  });

  it('that hangs does not delay another one of the same tenant', async () => {
    const client = await app.tenant();
    const hanging = await startReceiver(hang);
    const quick = await startReceiver();
    await register(client, hanging.url, ['message.created']);
    const { id } = await register(client, quick.url, ['message.created']);
    const startedAt = Date.now();
    for (let count = 0; count < 30; count++) await send(client, `participant_${count % 3}`);
    await quick.waitFor(30);
    expect(await settled(client, id, 30)).toHaveLength(30);
    expect(hanging.received.length).toBeGreaterThan(0);
    // Nothing of the hanging one can have ended before its deadline.
    expect(quick.received.at(-1)!.at - startedAt).toBeLessThan(
      DEADLINE_MS + (hanging.received[0]!.at - startedAt),
    );
  });
});

describe('an outbound message', () => {
  it('is delivered with the first success, whatever the other webhooks do', async () => {
    const client = await app.tenant();
    const failing = await startReceiver(answers(500));
    const working = await startReceiver();
    const { id } = await register(client, failing.url, ['message.created']);
    await register(client, working.url, ['message.created']);
    const { messageId } = await send(client);
    await becomes(client, messageId, 'DELIVERED');
    expect((await settled(client, id))[0]!.status).toBe('FAILED');
    expect(await messageOf(client, messageId)).toEqual({
      status: 'DELIVERED',
      log: ['CREATED', 'DELIVERED'],
    });
  });

  it('is delivered by a success that comes after another webhook has finally failed', async () => {
    const client = await app.tenant();
    const failing = await startReceiver(answers(500));
    const late = await startReceiver(answers(500, 500, 200));
    const { id } = await register(client, failing.url, ['message.created']);
    await register(client, late.url, ['message.created']);
    const { messageId } = await send(client);
    await becomes(client, messageId, 'DELIVERED');
    await settled(client, id);
    expect(await messageOf(client, messageId)).toEqual({
      status: 'DELIVERED',
      log: ['CREATED', 'DELIVERED'],
    });
  });

  it('stays delivered when the webhook that took it is deleted and another one finally fails', async () => {
    const client = await app.tenant();
    const failing = await startReceiver(answers(500));
    const working = await startReceiver();
    const { id } = await register(client, failing.url, ['message.created']);
    const taker = await register(client, working.url, ['message.created']);
    const { messageId } = await send(client);
    await becomes(client, messageId, 'DELIVERED');
    await deleteWebhook(client, taker.id);
    expect((await settled(client, id))[0]!.status).toBe('FAILED');
    expect((await messageOf(client, messageId)).status).toBe('DELIVERED');
  });

  it('has failed when the last webhook that could have taken it is deleted', async () => {
    const client = await app.tenant();
    const failing = await startReceiver(answers(500));
    const { id } = await register(client, failing.url, ['message.created']);
    const paused = await register(client, failing.url, ['message.created']);
    await client.data('mutation ($input: IdInput!) { pauseWebhook(input: $input) { webhook { id } } }', {
      input: { id: paused.id },
    });
    const { messageId } = await send(client);
    expect((await settled(client, id))[0]!.status).toBe('FAILED');
    expect((await messageOf(client, messageId)).status).toBe('SENT');
    await deleteWebhook(client, paused.id);
    expect((await messageOf(client, messageId)).status).toBe('FAILED');
  });

  it('that an adapter lost stays failed when what had been delivered is sent again in vain', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(200, 500));
    const { id } = await register(client, receiver.url, ['message.created']);
    const { messageId } = await send(client);
    await becomes(client, messageId, 'DELIVERED');
    await move(client, messageId, 'FAILED');
    const [delivery] = await settled(client, id);
    await client.data('mutation ($id: ID!) { retryDelivery(input: { id: $id }) { delivery { id } } }', {
      id: delivery!.id,
    });
    await eventually(async () => (await settled(client, id))[0]!.attempts.length === 4);
    expect(await messageOf(client, messageId)).toEqual({
      status: 'FAILED',
      log: ['CREATED', 'DELIVERED', 'FAILED'],
    });
  });

  it('has failed when every message.created delivery of it has finally failed', async () => {
    const client = await app.tenant();
    const failing = await startReceiver(answers(500));
    const working = await startReceiver();
    await register(client, `${failing.url}/1`, ['message.created']);
    await register(client, `${failing.url}/2`, ['message.created']);
    const { id } = await register(client, working.url, ['thread.created', 'message.failed']);
    const { messageId } = await send(client);
    await becomes(client, messageId, 'FAILED');
    expect(failing.received).toHaveLength(6);
    expect(await messageOf(client, messageId)).toEqual({ status: 'FAILED', log: ['CREATED', 'FAILED'] });

    // The webhook that hears of the failure succeeds, and that does not make the message delivered.
    await settled(client, id, 2);
    expect(working.received.map(({ body }) => body.event).sort()).toEqual([
      'message.failed',
      'thread.created',
    ]);
    expect((await messageOf(client, messageId)).status).toBe('FAILED');
  });

  it('that was reported as failed is delivered by a later success', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver(answers(500, 200));
    await register(client, receiver.url, ['message.created']);
    const { messageId } = await send(client);
    await receiver.waitFor(1);
    await move(client, messageId, 'FAILED');
    await becomes(client, messageId, 'DELIVERED');
    expect((await messageOf(client, messageId)).log).toEqual(['CREATED', 'FAILED', 'DELIVERED']);
  });

  it('stays sent without a webhook that hears of it', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const { id } = await register(client, receiver.url, ['thread.created']);
    const { messageId } = await send(client);
    await settled(client, id);
    expect(await messageOf(client, messageId)).toEqual({ status: 'SENT', log: ['CREATED'] });
  });
});
