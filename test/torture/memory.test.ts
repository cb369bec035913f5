import { request as httpRequest, type IncomingMessage } from 'node:http';
import { expect, it } from 'vitest';
import { REST } from '../support/app.js';
import { inspectable, memoryOf } from '../support/memory.js';
import { install, type Parley } from '../support/process.js';
import { eventually, startReceiver } from '../support/receiver.js';
import { registerHandler } from '../support/signals.js';
import { registerWebhook } from '../support/webhooks.js';

const MB = 1024 * 1024;
const MESSAGES = 60;
const sizeOf = (position: number) => (2 + (position % 8)) * MB;

/** A heap that holds a part of the 330 MB only: a process that wants more dies. */
const MAX_HEAP = '--max-old-space-size=200';
/** What a reader that does not read may keep there: what was read last, and what the sockets hold. */
const MOST_KEPT_BYTES = 60 * MB;

/** Long enough for a worker that holds everything at once to do so. */
const RECEIVER_TAKES_MS = 2_000;

const start = async () =>
  (await install({ NODE_OPTIONS: `${inspectable.NODE_OPTIONS} ${MAX_HEAP}`, LOG_LEVEL: 'error' })).start();

/** Stores 330 MB, and answers with the thread that has them. */
async function fill(
  { operator }: Parley,
  workflowId: string,
  {
    direction = 'inbound',
    participantAt = () => 'participant_1',
  }: { direction?: 'inbound' | 'outbound'; participantAt?: (position: number) => string } = {},
): Promise<string> {
  let threadId = '';
  for (let position = 1; position <= MESSAGES; position++) {
    const { status, body } = await operator.rest('POST', `/${direction}`, {
      workflowId,
      participantId: participantAt(position),
      channel: 'chat',
      channelKey: 'key_1',
      content: { body: 'x'.repeat(sizeOf(position)) },
    });
    expect(status).toBe(200);
    threadId = body.threadId;
  }
  return threadId;
}

function open({ url, apiKey }: Parley, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    httpRequest(`${url}${REST}${path}`, { headers: { authorization: `Bearer ${apiKey}` } })
      .on('response', (response) => resolve(response.pause()))
      .on('error', reject)
      .end();
  });
}

it('a thread of 330 MB is answered whole by a process whose heap holds a part of it only', async () => {
  const parley = await start();
  const threadId = await fill(parley, 'workflow_1');
  const response = await open(parley, `/threads/${threadId}?pageSize=100`);
  let bytes = 0;
  let tail = '';
  const positions: number[] = [];
  for await (const chunk of response.setEncoding('latin1')) {
    bytes += chunk.length;
    const text = tail + chunk;
    for (const [, position] of text.matchAll(/"position":(\d+),/g)) positions.push(Number(position));
    // Long enough for a member that is cut in two, too short for a whole one.
    tail = text.slice(-16).replace(/^.*"position":\d+,/, '');
  }
  expect(positions).toEqual(Array.from({ length: MESSAGES }, (_, index) => index + 1));
  expect(tail).toMatch(/false\}\}$/);
  expect(bytes).toBeGreaterThan(300 * MB);
});

it('event streams that nobody reads keep a small part of 330 MB in memory, whether it is old or new', async () => {
  const parley = await start();
  await fill(parley, 'old');
  const before = await memoryOf(parley);
  const streams = await Promise.all(
    ['?after=start', '?after=start', ''].map((query) => open(parley, `/events${query}`)),
  );
  await fill(parley, 'new');
  const after = await memoryOf(parley);
  const keptBytes = after.heapUsed + after.external - before.heapUsed - before.external;
  console.info({ keptBytes });
  expect(keptBytes).toBeLessThan(streams.length * MOST_KEPT_BYTES);
  for (const stream of streams) stream.destroy();
});

it.each(['inbound', 'outbound'] as const)(
  '330 MB of %s messages that waited go to a slow receiver',
  async (direction) => {
    const parley = await start();
    const { url, received } = await startReceiver(
      (_, response) => void setTimeout(() => response.end(), RECEIVER_TAKES_MS),
    );
    const webhook = await registerWebhook(parley.operator, url);
    const toWebhook = (action: string) =>
      parley.operator.data(
        `mutation ($id: ID!) { ${action}Webhook(input: { id: $id }) { webhook { id } } }`,
        webhook,
      );
    await toWebhook('pause');
    await fill(parley, 'workflow_1', { direction, participantAt: (position) => `participant_${position}` });
    await toWebhook('resume');
    await registerHandler(parley.operator, { kind: 'HTTP', url });
    await eventually(() => received.length >= MESSAGES, {
      timeoutMs: 120_000,
      describe: () => `${MESSAGES} requests, got ${received.length}`,
    });
    const sizes = Array.from({ length: MESSAGES }, (_, index) => sizeOf(index + 1));
    expect(received.map(({ body }) => body.content.body.length).sort()).toEqual(sizes.sort());
  },
);
