import { z } from 'zod';
import { notFound } from '../errors.js';
import { eventCursor } from '../services/events.js';
import { parseInput } from '../services/input.js';
import { listMessagesByNumber } from '../services/messages.js';
import { deleteThread } from '../services/thread-deletion.js';
import { archiveThread, getThread, listThreadsByNumber, updateThread } from '../services/threads.js';
import type { RestRequest } from './routes.js';
import { messageJson, threadJson } from './shapes.js';

export async function getThreads(request: RestRequest) {
  const { services, actor, query } = request;
  await sendEventCursor(request);
  const { threads, ...page } = await listThreadsByNumber(services, actor, query);
  return { threads: threads.map(threadJson), ...page };
}

export async function getThreadRoute(request: RestRequest) {
  const { services, actor, params, query } = request;
  await sendEventCursor(request);
  const thread = await getThread(services, actor, params.threadId ?? '');
  if (!thread) throw notFound('Thread');
  const { messages, ...messagesPage } = await listMessagesByNumber(services, actor, thread, query);
  return {
    ...threadJson(thread),
    messages: messages.map(({ logs, ...message }) => messageJson(message, logs)),
    messagesPage,
  };
}

export async function putThread({ services, actor, params, body }: RestRequest) {
  return threadJson(await updateThread(services, actor, params.threadId ?? '', body));
}

const deleteQuery = z.object({ permanent: z.enum(['true', 'false']).default('false') });

export async function deleteThreadRoute({ services, actor, params, query }: RestRequest) {
  const { permanent } = parseInput(deleteQuery, query);
  const threadId = params.threadId ?? '';
  if (permanent === 'false') return threadJson(await archiveThread(services, actor, threadId));
  return { id: await deleteThread(services, actor, threadId), deleted: true };
}

/** Read before the answer is, so that a subscription with it as `after` misses nothing in between. */
async function sendEventCursor({ services, actor, setHeader }: RestRequest): Promise<void> {
  setHeader('x-event-cursor', await eventCursor(services, actor));
}
