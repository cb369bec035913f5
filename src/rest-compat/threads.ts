import { Readable } from 'node:stream';
import { z } from 'zod';
import { parseInput } from '../services/input.js';
import { readThreadByNumber } from '../services/message-pages.js';
import { deleteThread } from '../services/thread-deletion.js';
import { archiveThread, listThreadsByNumber, updateThread } from '../services/threads.js';
import { Answer } from './answers.js';
import { sendEventCursor } from './event-cursor.js';
import type { RestRequest } from './route.js';
import { messageJson, threadJson } from './shapes.js';

export async function getThreads(request: RestRequest) {
  const { services, actor, query } = request;
  await sendEventCursor(request);
  const { threads, ...page } = await listThreadsByNumber(services, actor, query);
  return { threads: threads.map(threadJson), ...page };
}

/** Written as it is read: the messages of a page may be more than one answer can hold in memory. */
export async function getThreadRoute(request: RestRequest): Promise<Answer> {
  const { services, actor, params, query } = request;
  await sendEventCursor(request);
  const { thread, batches, messagesPage } = await readThreadByNumber(
    services,
    actor,
    params.threadId ?? '',
    query,
  );
  const first = await batches.next();
  async function* text() {
    yield `${JSON.stringify(threadJson(thread)).slice(0, -1)},"messages":[`;
    let separator = '';
    for (let batch = first; !batch.done; batch = await batches.next()) {
      yield separator +
        batch.value.map((message) => JSON.stringify(messageJson(message, services))).join(',');
      separator = ',';
    }
    yield `],"messagesPage":${JSON.stringify(messagesPage)}}`;
  }
  return new Answer(200, { 'content-type': 'application/json; charset=utf-8' }, Readable.from(text()));
}

export async function putThread({ services, actor, params, body }: RestRequest) {
  return threadJson(await updateThread(services, actor, params.threadId ?? '', body));
}

/** Query parameters of the deletion of a thread. */
export const deleteQuery = z.object({
  permanent: z.enum(['true', 'false']).default('false').meta({
    description:
      '`true` deletes the thread with its messages, logs and attachments; otherwise it is archived.',
  }),
});

export async function deleteThreadRoute({ services, actor, params, query }: RestRequest) {
  const { permanent } = parseInput(deleteQuery, query);
  const threadId = params.threadId ?? '';
  if (permanent === 'false') return threadJson(await archiveThread(services, actor, threadId));
  return { id: await deleteThread(services, actor, threadId), deleted: true };
}
