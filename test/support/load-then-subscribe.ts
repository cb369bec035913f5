import { expect } from 'vitest';
import type { Client, TestApp } from './app.js';
import { eventually } from './receiver.js';
import { connect, subscribe } from './subscriber.js';

const WRITERS = 16;
const PAGE = 100;

/**
 * While messages are being written to a thread, a client reads the end of the log, then a page of the thread, then
 * subscribes behind that end. Expects it to have missed nothing from its page on, in order, without a repeat.
 */
export async function loadThenSubscribe(app: TestApp, client: Client, messages: number): Promise<void> {
  const message = { workflowId: 'w', participantId: 'p', channel: 'chat', channelKey: 'k' };
  let left = messages;
  let threadId = '';
  const write = async () => {
    while (left > 0) {
      const content = { body: `message ${left--}` };
      const { status, body } = await client.rest('POST', '/inbound', { ...message, content });
      expect(status).toBe(200);
      threadId = body.threadId;
    }
  };
  const writing = Promise.all(Array.from({ length: WRITERS }, write));
  const begin = Math.random() * messages * 0.8;
  const begun = eventually(() => threadId !== '' && messages - left >= begin, { timeoutMs: 60_000 });
  await Promise.race([begun, writing.then(() => begun)]);

  const { eventCursor } = await client.data('{ eventCursor }');
  const { thread } = await client.data(
    `query ($id: ID!) { thread(id: $id) { messages(last: ${PAGE}) { edges { node { position } } } } }`,
    { id: threadId },
  );
  const live = await subscribe(
    connect(app.url, client.apiKey),
    'subscription ($id: ID, $after: String) { messageAdded(threadId: $id, after: $after) { message { position } } }',
    { id: threadId, after: eventCursor },
  );
  await writing;
  const loaded: number[] = thread.messages.edges.map(
    ({ node }: { node: { position: number } }) => node.position,
  );
  const followed = () => live.events.map(({ data }) => data.messageAdded.message.position as number);
  await eventually(() => followed().at(-1) === messages, {
    timeoutMs: 60_000,
    describe: () => `message ${messages}, got ${followed().at(-1)}`,
  });
  live.stop();
  expect(live.errors).toEqual([]);
  const positions = followed();
  expect(positions).toEqual(positions.map((_, index) => (positions[0] ?? 0) + index));
  const from = Math.min(...loaded);
  const seen = new Set([...loaded, ...positions]);
  for (let position = from; position <= messages; position++) expect(seen).toContain(position);
}
