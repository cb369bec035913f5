import { Readable } from 'node:stream';
import { z } from 'zod';
import { encodeId } from '../ids.js';
import type { Context } from '../services/context.js';
import {
  cursorOf,
  type EventType,
  eventCursor,
  eventTypes,
  followEvents,
  type LiveEvents,
  type LogEvent,
  oldestCursor,
} from '../services/events.js';
import { listOfSome, parseInput } from '../services/input.js';
import type { Thread } from '../services/threads.js';
import { Answer } from './answers.js';
import type { RestRequest } from './route.js';
import type { logEvent } from './schemas.js';
import { messageJson, threadJson, workflowConversationJson } from './shapes.js';

/**
 * A comment now and then keeps proxies from closing a quiet stream, and finds out that a client is gone. With it comes
 * how far the stream has got in the log, or one that has been quiet for long would go on behind what was trimmed.
 */
const KEEP_ALIVE_MS = 15_000;
/** How long a browser waits before it connects again. */
const RECONNECT_MS = 2_000;

/** Query parameters of the event stream. */
export const eventsQuery = z.object({
  after: z
    .string()
    .meta({
      description:
        'A cursor: everything since then first. `start`: since the oldest event that is kept. Without it from now on.',
    })
    .optional(),
  types: z
    .string()
    .transform((names) => names.split(','))
    .pipe(listOfSome<EventType>(eventTypes, 'must name at least one type'))
    .meta({
      description: 'Only events of these types, separated by commas.',
      examples: ['message.created,thread.updated'],
    })
    .optional(),
  threadId: z.string().meta({ description: 'Only events of this thread.' }).optional(),
  workflowId: z.string().meta({ description: 'Only events of this workflow.' }).optional(),
});

/**
 * The tenant's events as they come, as server-sent events (WHATWG HTML, section 9.2). The id of each is its cursor;
 * the first one, which is empty, says where the stream begins, and further empty ones how far it has got. A browser
 * that reconnects sends the last id back, and so goes on without a gap.
 */
export async function getEvents(request: RestRequest): Promise<Answer> {
  const { services, actor, headers, query } = request;
  const { types = null, after, ...filter } = parseInput(eventsQuery, query);
  const lastEventId = headers['last-event-id'];
  const [given, cursorField] = lastEventId ? [String(lastEventId), 'Last-Event-ID'] : [after, 'after'];
  const start =
    given === 'start' ? await oldestCursor(services, actor) : (given ?? (await eventCursor(services, actor)));
  const events = await followEvents(services, actor, types, { ...filter, after: start }, { cursorField });
  const opening = `retry: ${RECONNECT_MS}\nid: ${start}\n\n`;
  const headersOfStream = {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  };
  return new Answer(200, headersOfStream, eventStream(request, opening, events));
}

/** Pulls events as fast as they are read, and no faster: a slow reader is caught up from the database. */
function eventStream(
  { services, actor, reauthenticate, holdOpen, cut }: RestRequest,
  opening: string,
  events: LiveEvents,
): Readable {
  let isPulling = false;
  let isOver = false;
  const push = (text: string | null) => {
    if (isOver) return;
    isOver = text === null;
    stream.push(text);
  };
  const frame = (event: LogEvent) =>
    `id: ${cursorOf(actor, event.sequence)}\nevent: ${event.type}\ndata: ${JSON.stringify(eventJson(event, services))}\n\n`;
  const release = holdOpen(() => {
    // Behind what is not being read no end would be seen.
    if (stream.readableLength > 0) stream.destroy();
    else push(null);
  });
  const stream = new Readable({
    async read() {
      if (isPulling) return;
      isPulling = true;
      try {
        const { done, value } = await events.next();
        await reauthenticate();
        isPulling = false;
        push(done ? null : frame(value));
      } catch {
        push(null);
      }
    },
    destroy(error, done) {
      isOver = true;
      release();
      clearInterval(keepAlive);
      cut.removeEventListener('abort', cutOff);
      void events.return?.();
      done(error);
    },
  });
  const cutOff = () => void stream.destroy();
  const keepAlive = setInterval(() => {
    const place = events.quietUpTo();
    push(place === null ? ':\n\n' : `:\nid: ${cursorOf(actor, place)}\n\n`);
  }, KEEP_ALIVE_MS);
  cut.addEventListener('abort', cutOff);
  push(opening);
  return stream;
}

function eventJson(event: LogEvent, services: Context): z.input<typeof logEvent> {
  const { threadId, messageId, workflowConversationId, type } = event;
  const noun = type.slice(0, type.indexOf('.'));
  return {
    sequence: Number(event.sequence),
    type,
    occurredAt: event.occurredAt.toISOString(),
    workflowId: event.workflowId,
    participantId: event.participantId,
    threadId: threadId && encodeId('thread', threadId),
    messageId: messageId && encodeId('message', messageId),
    workflowConversationId,
    data: event.data as Record<string, unknown> | null,
    ...(noun === 'message' && { message: event.message && messageJson(event.message, services) }),
    ...(noun === 'thread' && { thread: event.thread ? threadJson(event.thread) : lastOf(event) }),
    ...(workflowConversationId !== null && {
      workflowConversation:
        event.workflowConversation && workflowConversationJson(event.workflowConversation),
    }),
  };
}

/** The thread as it was when it was deleted, which its last event tells. */
function lastOf({ type, tenantId, threadId, workflowId, participantId, data }: LogEvent) {
  if (type !== 'thread.deleted' || !threadId || !workflowId || !participantId) return null;
  const { status, metadata, createdAt, updatedAt } = data as Record<'createdAt' | 'updatedAt', string> &
    Pick<Thread, 'status' | 'metadata'>;
  const times = { createdAt: new Date(createdAt), updatedAt: new Date(updatedAt) };
  return threadJson({ id: threadId, tenantId, workflowId, participantId, status, metadata, ...times });
}
