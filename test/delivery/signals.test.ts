import type { ServerResponse } from 'node:http';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { eventually, type Received, startReceiver } from '../support/receiver.js';

const SCHEDULE = [0, 0, 1];

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ signalRetryScheduleSeconds: SCHEDULE, deliveryDeadlineMs: 15_000 });
});
afterAll(() => app.close());

/** Never answers; the connection ends with the test, or with Parley's patience. */
const hang = () => {};
const fail = (_: Received, response: ServerResponse) => void response.writeHead(500).end();

const register = async (client: Client, url: string, more: object = {}) => {
  const { registerWorkflowHandler } = await client.data(
    `mutation ($input: RegisterWorkflowHandlerInput!) {
       registerWorkflowHandler(input: $input) { secret workflowHandler { id } }
     }`,
    { input: { workflowId: 'workflow_1', kind: 'HTTP', url, ...more } },
  );
  return { id: registerWorkflowHandler.workflowHandler.id, secret: registerWorkflowHandler.secret };
};

async function receive(
  client: Client,
  text: string,
  participantId = 'participant_1',
  workflowId = 'workflow_1',
) {
  const { body } = await client.rest('POST', '/inbound', {
    workflowId,
    participantId,
    channel: 'chat',
    channelKey: participantId,
    content: { body: text },
  });
  return body as { messageId: string; threadId: string };
}

const signalOf = async (client: Client, messageId: string) => {
  const { message } = await client.data(
    `query ($id: ID!) {
       message(id: $id) { status logs { event } signal { id status nextAttemptAt attempts { statusCode error } } }
     }`,
    { id: messageId },
  );
  return {
    ...message.signal,
    messageStatus: message.status,
    log: message.logs.map(({ event }: { event: string }) => event),
  };
};

const becomes = (client: Client, messageId: string, status: string) =>
  eventually(async () => (await signalOf(client, messageId)).status === status, {
    describe: () => `the signal to become ${status}`,
  });

const texts = (received: readonly Received[]) => received.map(({ body }) => body.content.body as string);

describe('the signals of a thread', () => {
  it('arrive in order, each only after the previous one was acknowledged', async () => {
    const client = await app.tenant();
    const failedOnce = new Set<string>();
    const handler = await startReceiver((request, response) => {
      const { messageId } = request.body;
      const status = failedOnce.has(messageId) ? 200 : 500;
      failedOnce.add(messageId);
      // Long enough that an impatient sender would be noticed.
      setTimeout(() => response.writeHead(status).end(), 30);
    });
    await register(client, handler.url);
    const expected = Array.from({ length: 12 }, (_, index) => `message ${index + 1}`);
    let last = '';
    for (const text of expected) last = (await receive(client, text)).messageId;

    await becomes(client, last, 'DELIVERED');
    expect(texts(handler.received)).toEqual(expected.flatMap((text) => [text, text]));
  });

  it('go on after one has finally failed, and that one can be sent again, from the start of its schedule', async () => {
    const client = await app.tenant();
    let broken = true;
    const handler = await startReceiver((request, response) => {
      const isRefused = broken && request.body.content.body === 'bad';
      response.writeHead(isRefused ? 500 : 200).end();
    });
    await register(client, handler.url);
    await receive(client, 'first');
    const bad = await receive(client, 'bad');
    const next = await receive(client, 'next');

    await becomes(client, next.messageId, 'DELIVERED');
    expect(texts(handler.received)).toEqual(['first', 'bad', 'bad', 'bad', 'next']);
    const failed = await signalOf(client, bad.messageId);
    expect(failed).toMatchObject({
      status: 'FAILED',
      nextAttemptAt: null,
      messageStatus: 'FAILED',
      log: ['CREATED', 'FAILED'],
      attempts: SCHEDULE.map(() => ({ statusCode: 500, error: 'http_500' })),
    });

    const retry = () =>
      client.graphql('mutation ($input: IdInput!) { retrySignal(input: $input) { signal { status } } }', {
        input: { id: failed.id },
      });
    expect((await retry()).body.data.retrySignal.signal.status).toBe('PENDING');
    await eventually(async () => (await signalOf(client, bad.messageId)).attempts.length === 6);
    await becomes(client, bad.messageId, 'FAILED');

    broken = false;
    await retry();
    await becomes(client, bad.messageId, 'DELIVERED');
    expect(await signalOf(client, bad.messageId)).toMatchObject({
      messageStatus: 'DELIVERED',
      log: ['CREATED', 'FAILED', 'DELIVERED'],
    });
    expect(new Set(handler.received.slice(5).map(({ headers }) => headers['webhook-id']))).toEqual(
      new Set([failed.id]),
    );
    expect((await retry()).body.errors[0].extensions.code).toBe('CONFLICT');
  });

  it('do not wait for those of another thread', async () => {
    const client = await app.tenant();
    const handler = await startReceiver((request, response) => {
      if (request.body.participantId === 'stuck') return hang();
      response.end();
    });
    await register(client, handler.url);
    const stuck = await receive(client, 'stuck', 'stuck');
    await receive(client, 'behind it', 'stuck');
    await handler.waitFor(1);
    const others = [];
    for (let count = 1; count <= 20; count++)
      others.push(await receive(client, `${count}`, `participant_${count % 5}`));
    for (const { messageId } of others) await becomes(client, messageId, 'DELIVERED');
    expect(await signalOf(client, stuck.messageId)).toMatchObject({ status: 'PENDING', attempts: [] });
    expect(texts(handler.received)).not.toContain('behind it');
  });

  it('are not made of outbound messages', async () => {
    const client = await app.tenant();
    const handler = await startReceiver();
    await register(client, handler.url);
    const { threadId } = await receive(client, 'question');
    const { body } = await client.rest('POST', '/outbound', { threadId, content: { body: 'answer' } });
    const last = await receive(client, 'thanks');
    await becomes(client, last.messageId, 'DELIVERED');
    expect(texts(handler.received)).toEqual(['question', 'thanks']);
    const { message } = await client.data('query ($id: ID!) { message(id: $id) { signal { id } } }', {
      id: body.messageId,
    });
    expect(message.signal).toBeNull();
  });
});

describe('a workflow handler', () => {
  it('takes the signals of its workflow, and the default one those of all others', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    await register(client, `${receiver.url}/default`, { workflowId: '*' });
    const { id } = await register(client, `${receiver.url}/own`, { workflowId: 'workflow_1' });
    const own = await receive(client, 'own', 'participant_1', 'workflow_1');
    const other = await receive(client, 'other', 'participant_1', 'workflow_2');
    for (const { messageId } of [own, other]) await becomes(client, messageId, 'DELIVERED');
    const arrivals = () => receiver.received.map(({ path, body }) => [path, body.content.body]).sort();
    expect(arrivals()).toEqual([
      ['/default', 'other'],
      ['/own', 'own'],
    ]);

    await client.data('mutation ($input: IdInput!) { deleteWorkflowHandler(input: $input) { deletedId } }', {
      input: { id },
    });
    const later = await receive(client, 'after its end', 'participant_1', 'workflow_1');
    await becomes(client, later.messageId, 'DELIVERED');
    expect(arrivals()).toContainEqual(['/default', 'after its end']);
  });

  it('gets the signals that waited for it, in order, when it is registered', async () => {
    const client = await app.tenant();
    const messages: { messageId: string }[] = [];
    for (let count = 1; count <= 10; count++) messages.push(await receive(client, `${count}`));
    const parked = async () => {
      const signal = await signalOf(client, messages[0]!.messageId);
      return signal.status === 'PENDING' && signal.nextAttemptAt === null;
    };
    await eventually(parked);
    expect((await signalOf(client, messages[0]!.messageId)).attempts).toEqual([]);

    const handler = await startReceiver();
    await register(client, handler.url);
    await becomes(client, messages.at(-1)!.messageId, 'DELIVERED');
    expect(texts(handler.received)).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9', '10']);
  });

  it('gets them as the default handler, too', async () => {
    const client = await app.tenant();
    const { messageId } = await receive(client, 'waiting');
    await eventually(async () => (await signalOf(client, messageId)).status === 'PENDING');
    const handler = await startReceiver();
    await register(client, handler.url, { workflowId: '*' });
    await becomes(client, messageId, 'DELIVERED');
    expect(texts(handler.received)).toEqual(['waiting']);
  });

  it('gets none of them with deliverPending: false, only what comes after', async () => {
    const client = await app.tenant();
    const waiting = [await receive(client, 'old'), await receive(client, 'old', 'participant_2')];
    for (const { messageId } of waiting) {
      await eventually(async () => {
        const { status, nextAttemptAt } = await signalOf(client, messageId);
        return status === 'PENDING' && nextAttemptAt === null;
      });
    }
    const handler = await startReceiver();
    await register(client, handler.url, { deliverPending: false });
    const { messageId } = await receive(client, 'new');
    await becomes(client, messageId, 'DELIVERED');
    for (const old of waiting) expect((await signalOf(client, old.messageId)).status).toBe('CANCELLED');
    expect(texts(handler.received)).toEqual(['new']);
  });

  it('gets none of them either of those that are looked at in that moment', async () => {
    const client = await app.tenant();
    const handler = await startReceiver();
    const participants = Array.from({ length: 60 }, (_, index) => `participant_${index}`);
    const waiting = await Promise.all(participants.map((participant) => receive(client, 'old', participant)));
    await register(client, handler.url, { deliverPending: false });
    const { messageId } = await receive(client, 'new');
    await becomes(client, messageId, 'DELIVERED');
    for (const old of waiting) expect((await signalOf(client, old.messageId)).status).toBe('CANCELLED');
    expect(texts(handler.received)).toEqual(['new']);
  });

  it('that is replaced gets no further attempt; the new one gets them, signed with its own secret', async () => {
    const client = await app.tenant();
    const old = await startReceiver(fail);
    const replacement = await startReceiver();
    await register(client, old.url);
    const { messageId } = await receive(client, 'hello');
    await old.waitFor(2);
    const { secret } = await register(client, replacement.url);
    await becomes(client, messageId, 'DELIVERED');
    expect(old.received).toHaveLength(2);
    const [signal] = replacement.received;
    expect(new Webhook(secret).verify(signal!.bytes, signal!.headers as never)).toBeTruthy();
    expect(signal!.headers['webhook-id']).toBe(old.received[0]!.headers['webhook-id']);
  });

  it('that hangs holds up nobody but its own threads', async () => {
    const slow = await app.tenant();
    const quick = await app.tenant();
    const hanging = await startReceiver(hang);
    const handler = await startReceiver();
    await register(slow, hanging.url);
    await register(quick, handler.url);
    // More threads than a worker takes at once would block here if sending blocked the worker.
    const stuck = await Promise.all(
      Array.from({ length: 40 }, (_, index) => receive(slow, 'stuck', `participant_${index}`)),
    );
    await hanging.waitFor(40);
    const { messageId } = await receive(quick, 'quick');
    await becomes(quick, messageId, 'DELIVERED');
    const { status, attempts } = await signalOf(slow, stuck[0]!.messageId);
    expect({ status, attempts }).toEqual({ status: 'PENDING', attempts: [] });
  });
});
