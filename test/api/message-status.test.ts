import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeId } from '../../src/ids.js';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { follow } from '../support/event-stream.js';
import { commitWhenAwaited } from '../support/query.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const message = {
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'sms',
  channelKey: '+15550100',
  content: { body: 'Hello' },
};

async function send(client: Client): Promise<string> {
  return (await client.rest('POST', '/outbound', message)).body.messageId;
}

/** Moves a message, which answers with the message as it then is. */
async function move(client: Client, messageId: string, status: string, details?: object) {
  const answer = await client.rest('PUT', `/messages/${messageId}/status`, { status, details });
  expect(answer.status).toBe(200);
  expect((await client.rest('GET', `/messages/${messageId}`)).body).toEqual(answer.body);
  const [created, ...logs] = answer.body.logs;
  expect(created).toMatchObject({ event: 'created', details: null });
  return {
    status: answer.body.status as string,
    logs: logs.map(({ event, details }: { event: string; details: unknown }) => [event, details]),
  };
}

/** What the log of the tenant tells of a message since it was stored. */
async function movesTold(client: Client): Promise<[string, string][]> {
  const stream = await follow(app.url, client, '?after=start');
  await client.rest('POST', '/inbound', { ...message, workflowId: 'last' });
  await stream.waitFor(4);
  const end = (await client.data('{ eventCursor }')).eventCursor;
  await stream.waitFor(Number(Buffer.from(end, 'base64url').toString().split(':')[1]));
  stream.stop();
  return stream.events
    .filter(({ event }) => event?.startsWith('message.') && event !== 'message.created')
    .map(({ event, data }) => [event!, data.data.status]);
}

/** How a status is reached from `sent`, and where it may go from there (design, section 9). */
const ways: Record<string, { by: string[]; to: string[] }> = {
  sent: { by: [], to: ['delivered', 'read', 'failed'] },
  delivered: { by: ['delivered'], to: ['read', 'failed'] },
  read: { by: ['read'], to: [] },
  failed: { by: ['failed'], to: ['delivered'] },
};

describe('PUT /messages/{messageId}/status', () => {
  it('looks at what the message has become while it waited for it', async () => {
    const client = await app.tenant();
    const messageId = await send(client);
    await move(client, messageId, 'failed');
    const moved = await commitWhenAwaited(
      app.databaseUrl,
      "UPDATE conversation_message SET status = 'delivered' WHERE id = $1",
      [decodeId('message', messageId)],
      () => move(client, messageId, 'read'),
    );
    expect(moved.status).toBe('read');
  });

  for (const [from, { by, to }] of Object.entries(ways)) {
    for (const target of ['delivered', 'read', 'failed']) {
      const isMove = to.includes(target);
      it(`${isMove ? 'moves' : 'does not move'} a message that is ${from} to ${target}`, async () => {
        const client = await app.tenant();
        const messageId = await send(client);
        for (const status of by) await move(client, messageId, status);
        const before = by.map((status) => [status, null]);
        const details = { carrier: 'one', code: [1, null] };

        const after = {
          status: isMove ? target : from,
          logs: isMove ? [...before, [target, details]] : before,
        };
        expect(await move(client, messageId, target, details)).toEqual(after);
        // Again: the same answer, and nothing happens.
        expect(await move(client, messageId, target, { other: true })).toEqual(after);
        const moves = isMove ? [...by, target] : by;
        expect(await movesTold(client)).toEqual(
          moves.flatMap((status) => [
            ['message.updated', status],
            [`message.${status}`, status],
          ]),
        );
      });
    }
  }

  it('takes inbound messages too, and details of up to 16 KB', async () => {
    const client = await app.tenant();
    const { messageId } = (await client.rest('POST', '/inbound', message)).body;
    const fits = { text: 'x'.repeat(16_384 - '{"text":""}'.length) };
    const { status, body } = await client.rest('PUT', `/messages/${messageId}/status`, {
      status: 'read',
      details: { text: `${fits.text}x` },
    });
    expect([status, body.error.details]).toEqual([
      400,
      [{ field: 'details', issue: 'must have at most 16384 bytes as JSON' }],
    ]);
    expect(await move(client, messageId, 'read', fits)).toEqual({ status: 'read', logs: [['read', fits]] });
  });
});
