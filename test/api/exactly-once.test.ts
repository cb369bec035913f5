import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const message = (more: object = {}) => ({
  workflowId: 'w',
  participantId: 'p',
  channel: 'chat',
  channelKey: 'k',
  content: { body: 'Hello' },
  ...more,
});

const byRest = async (client: Client, input: object, headers = {}) => {
  const { status, body } = await client.rest('POST', '/inbound', input, headers);
  return status === 200 ? body.messageId : body.error.code;
};

const byGraphQL = async (client: Client, input: object) => {
  const { body } = await client.graphql(
    'mutation ($input: ReceiveInboundMessageInput!) { receiveInboundMessage(input: $input) { message { id } } }',
    { input },
  );
  return body.data?.receiveInboundMessage?.message.id ?? body.errors[0].extensions.code;
};

const messageCount = async (client: Client) => {
  const { threads } = await client.data('{ threads(first: 100) { edges { node { messageCount } } } }');
  return threads.edges.reduce(
    (sum: number, { node }: { node: { messageCount: number } }) => sum + node.messageCount,
    0,
  );
};

describe('an idempotency key', () => {
  it('used 20 times in parallel, over REST and GraphQL, stores one message and gives 20 equal answers', async () => {
    const client = await app.tenant();
    const input = message({ idempotencyKey: 'k1' });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => {
        if (n % 3 === 0) return byGraphQL(client, input);
        return n % 3 === 1 ? byRest(client, input) : byRest(client, message(), { 'idempotency-key': 'k1' });
      }),
    );
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).toMatch(/^message_/);
    expect(await messageCount(client)).toBe(1);
  });

  it('refuses another message, whatever the order in which both come', async () => {
    const client = await app.tenant();
    const first = await byRest(client, message({ idempotencyKey: 'k1' }));
    expect(await byRest(client, message({ idempotencyKey: 'k1', content: { body: 'Other' } }))).toBe(
      'conflict',
    );
    expect(await byGraphQL(client, message({ idempotencyKey: 'k1', metadata: { a: 1 } }))).toBe('CONFLICT');
    expect(await byRest(client, message({ idempotencyKey: 'k1' }))).toBe(first);

    const racing = await Promise.all(
      ['one', 'two'].map((body) => byRest(client, message({ idempotencyKey: 'k2', content: { body } }))),
    );
    expect(racing.filter((answer) => answer === 'conflict')).toHaveLength(1);
    expect(await messageCount(client)).toBe(2);
  });

  it('takes the same message with its members in another order for the same', async () => {
    const client = await app.tenant();
    const content = { body: 'Hello', extra: { a: 1, b: [1, 2] } };
    const reordered = { extra: { b: [1, 2], a: 1 }, body: 'Hello' };
    const first = await byRest(client, message({ idempotencyKey: 'k', content }));
    expect(await byGraphQL(client, message({ idempotencyKey: 'k', content: reordered }))).toBe(first);
  });

  it('is one for inbound and another for outbound messages, and every tenant has its own', async () => {
    const [client, other] = [await app.tenant(), await app.tenant()];
    const inbound = await byRest(client, message({ idempotencyKey: 'k' }));
    const outbound = await client.rest('POST', '/outbound', message({ idempotencyKey: 'k' }));
    expect(outbound.status).toBe(200);
    expect(outbound.body.messageId).not.toBe(inbound);
    expect(await byRest(other, message({ idempotencyKey: 'k', content: { body: 'Other' } }))).toMatch(
      /^message_/,
    );
  });

  it('gives the first answer also when what the message defaulted to has changed since', async () => {
    const client = await app.tenant();
    await client.rest('POST', '/inbound', message());
    const reply = { workflowId: 'w', participantId: 'p', content: { body: 'Answer' }, idempotencyKey: 'k' };
    const first = await client.rest('POST', '/outbound', reply);
    await client.rest('POST', '/inbound', message({ channel: 'voice', content: { transcript: 'Hello' } }));
    const again = await client.rest('POST', '/outbound', reply);
    expect(again.body).toEqual(first.body);
  });

  it('lives as long as its message', async () => {
    const client = await app.tenant();
    const input = message({ idempotencyKey: 'k' });
    const { body } = await client.rest('POST', '/inbound', input);
    await client.rest('DELETE', `/threads/${body.threadId}?permanent=true`);
    const again = await client.rest('POST', '/inbound', input);
    expect(again.status).toBe(200);
    expect(again.body.messageId).not.toBe(body.messageId);
    expect(again.body.position).toBe(1);
  });
});

describe('messages that arrive together', () => {
  it('fail alone: one that is invalid among 99 valid ones is a 400, and the 99 are stored', async () => {
    const client = await app.tenant();
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        client.rest('POST', '/inbound', message(n === 50 ? { content: {} } : { participantId: `p${n % 7}` })),
      ),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(99);
    expect(answers[50]!.status).toBe(400);
    expect(await messageCount(client)).toBe(99);
  });

  it('fail alone also when only the database finds the fault: a thread that goes away at that moment', async () => {
    const client = await app.tenant();
    const { body: doomed } = await client.rest('POST', '/inbound', message({ participantId: 'doomed' }));
    const sends = Array.from({ length: 60 }, (_, n) =>
      n % 3 === 0
        ? client.rest('POST', '/outbound', { threadId: doomed.threadId, content: { body: 'Late' } })
        : client.rest('POST', '/inbound', message({ participantId: `p${n % 5}` })),
    );
    const deletion = client.rest('DELETE', `/threads/${doomed.threadId}?permanent=true`);
    const answers = await Promise.all(sends);
    expect((await deletion).status).toBe(200);
    answers.forEach(({ status }, n) => {
      expect([200, ...(n % 3 === 0 ? [404] : [])]).toContain(status);
    });
    expect((await client.rest('GET', `/threads/${doomed.threadId}`)).status).toBe(404);
    expect(await messageCount(client)).toBe(40);
  });
});
