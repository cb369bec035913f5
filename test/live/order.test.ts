import pg from 'pg';
import { expect, it } from 'vitest';
import { APPEND_EVENTS } from '../../src/events/append.js';
import { type Client, startAppForTest } from '../support/app.js';
import { follow } from '../support/event-stream.js';
import { eventually } from '../support/receiver.js';
import { connect, subscribe } from '../support/subscriber.js';

const receive = (client: Client) =>
  client.rest('POST', '/inbound', {
    workflowId: 'w',
    participantId: 'p',
    channel: 'chat',
    channelKey: 'k',
    content: { body: 'Hello' },
  });

/** What every writer ends with, for an event about nothing. */
const APPEND = `
WITH new_event AS (
  SELECT $1::text AS tenant_id, 1 AS ordinal, 'run.updated' AS type, NULL::text AS workflow_id,
         NULL::text AS participant_id, NULL::uuid AS thread_id, NULL::uuid AS message_id,
         NULL::int AS workflow_conversation_id, NULL::jsonb AS data
),
${APPEND_EVENTS}
SELECT`;

it('a writer that pauses before its commit holds up the next of its tenant and nobody else, and readers see both in order', async () => {
  const app = await startAppForTest();
  const [client, other] = [await app.tenant(), await app.tenant()];
  const stream = await follow(app.url, client, '?after=start');
  const live = await subscribe(
    connect(app.url, client.apiKey),
    'subscription { events(after: "start") { sequence type } }',
  );
  const paused = new pg.Client(app.databaseUrl);
  paused.on('error', () => {});
  await paused.connect();
  await paused.query('BEGIN');
  await paused.query(APPEND, [client.tenantId]);

  let isAnswered = false;
  const waiting = receive(client).finally(() => {
    isAnswered = true;
  });
  const isWaiting =
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
  await eventually(async () => (await paused.query(isWaiting)).rowCount! > 0);
  for (let n = 0; n < 20; n++) expect((await receive(other)).status).toBe(200);
  const seenByOther = await (await follow(app.url, other, '?after=start')).waitFor(21);
  expect(seenByOther.map(({ data }) => data.sequence)).toEqual(Array.from({ length: 21 }, (_, n) => n + 1));
  expect([isAnswered, stream.events, live.events]).toEqual([false, [], []]);

  await paused.query('COMMIT');
  await paused.end();
  expect((await waiting).status).toBe(200);
  const inOrder = [
    [1, 'run.updated'],
    [2, 'thread.created'],
    [3, 'message.created'],
  ];
  expect((await stream.waitFor(3)).map(({ data }) => [data.sequence, data.type])).toEqual(inOrder);
  expect(
    (await live.waitFor(3)).map(({ data: { events } }) => [
      events.sequence,
      events.type.toLowerCase().replace('_', '.'),
    ]),
  ).toEqual(inOrder);
});
