import pg from 'pg';
import { expect, it } from 'vitest';
import { type Client, startAppForTest } from '../support/app.js';
import { query } from '../support/query.js';
import { openRawSocket, type RawSocket } from '../support/raw-socket.js';
import { eventually } from '../support/receiver.js';

/* Events of which something cannot be read: nothing is passed over that is still there. */

async function receive(client: Client, body: string, participantId = 'p') {
  const message = { workflowId: 'w', participantId, channel: 'chat', channelKey: 'k', content: { body } };
  const answer = await client.rest('POST', '/inbound', message);
  expect(answer.status).toBe(200);
  return answer.body as { threadId: string };
}

/** A subscription to messages with their threads, which are read for each event. */
async function follow({ apiKey }: Client, url: string, after: string): Promise<RawSocket> {
  const socket = await openRawSocket(url);
  await socket.init(apiKey);
  const subscription = `subscription ($after: String!) {
    messageAdded(after: $after) { cursor message { content thread { id unreadCount } } }
  }`;
  socket.run('1', subscription, { after });
  return socket;
}

const resultsOf = ({ messages }: RawSocket) =>
  messages.filter(({ type }) => type === 'next').map(({ payload }) => payload);
const bodiesOf = (socket: RawSocket) =>
  resultsOf(socket).map(({ data }) => data?.messageAdded.message.content.body);

it.each(['runs out of time', 'loses its connection'])(
  'a read that %s ends the connection before its event, which comes with the next one',
  async (what) => {
    const isSlow = what === 'runs out of time';
    const app = await startAppForTest({ graphqlTimeoutMs: isSlow ? 2_000 : 20_000 });
    const client = await app.tenant();
    const socket = await follow(client, app.url, 'start');
    await receive(client, 'first');
    await eventually(() => bodiesOf(socket).length === 1);

    const holder = new pg.Client(app.databaseUrl);
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE conversation_thread_reader IN ACCESS EXCLUSIVE MODE');
    await receive(client, 'second');
    if (!isSlow) {
      const endOfRead = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE wait_event_type = 'Lock' AND datname = current_database()`;
      await eventually(async () => (await query(app.databaseUrl, endOfRead)).length > 0);
    }
    expect(await socket.closed).toBe(1013);
    await holder.end();
    await receive(client, 'third');
    expect(bodiesOf(socket)).toEqual(['first']);

    const next = await follow(client, app.url, resultsOf(socket)[0].data.messageAdded.cursor);
    await eventually(() => bodiesOf(next).length === 2);
    expect(bodiesOf(next)).toEqual(['second', 'third']);
  },
);

it('messages whose thread is deleted while they wait for their reader are skipped', async () => {
  const app = await startAppForTest();
  const client = await app.tenant();
  const socket = await follow(client, app.url, 'start');
  const { threadId } = await receive(client, 'first');
  await eventually(() => bodiesOf(socket).length === 1);
  socket.socket.pause();
  const large = 'x'.repeat(60_000);
  for (let count = 0; count < 200; count++) await receive(client, large);
  const { status } = await client.rest('DELETE', `/threads/${threadId}?permanent=true`);
  expect(status).toBe(200);
  await receive(client, 'last', 'another');
  socket.socket.resume();
  await eventually(() => bodiesOf(socket).at(-1) === 'last');
  expect(resultsOf(socket).filter(({ errors }) => errors)).toEqual([]);
  // Some were on their way, and most were not.
  expect(bodiesOf(socket).length).toBeLessThan(200);
});
