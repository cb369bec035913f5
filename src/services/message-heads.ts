import { runStatement } from '../database/client.js';
import type { MessageLogEntry } from '../events/log.js';
import type { Message, Thread } from '../generated/prisma/client.js';
import { decodeId } from '../ids.js';
import type { List, PageRequest } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { readNestedPages } from './nested-pages.js';
import { type Fit, readPage } from './pages.js';

export type { MessageLogEntry } from '../events/log.js';
export type { Message } from '../generated/prisma/client.js';

/**
 * A message as lists read it: a large content is read only when it is asked for. Where content or log are there
 * already, as in the live feed, they are not read again.
 */
export type MessageHead = Omit<Message, 'content'> & {
  readonly content?: Message['content'] | null;
  readonly logs?: readonly MessageLogEntry[];
};

/** A message in the words of SQL. A content of this size lies in the row itself, and is no work to bring along. */
export const MESSAGE_HEAD = `id, tenant_id AS "tenantId", thread_id AS "threadId", position, direction::text AS direction,
  channel, channel_key AS "channelKey", status::text AS status, metadata, created_at AS "createdAt",
  content_bytes AS "contentBytes", CASE WHEN content_bytes <= 2000 THEN content END AS content`;

/** What the contents of one page may come to; of pages that are read together, all of them. */
const MAX_PAGE_BYTES = 16 * 1024 * 1024;

/**
 * Large messages make shorter pages. Pages that are read together share the room: the first message of each, then
 * the second of each, and so on.
 */
export const fitContents: Fit<MessageHead> = (pages) => {
  const sizes = pages.map(() => 0);
  let bytesLeft = MAX_PAGE_BYTES;
  const longest = Math.max(0, ...pages.map(({ length }) => length));
  for (let nth = 0; nth < longest; nth++) {
    for (const [index, page] of pages.entries()) {
      const message = page[nth];
      if (!message) continue;
      bytesLeft -= message.contentBytes;
      if (nth === 0 || bytesLeft >= 0) sizes[index] = nth + 1;
    }
  }
  return sizes;
};

const BY_IDS = `
SELECT ${MESSAGE_HEAD} FROM conversation_message WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`;

/** Messages of the caller's tenant in the order of their ids, null for those that are absent. */
export async function messagesByIds(
  context: Context,
  actor: Actor,
  ids: readonly string[],
): Promise<(MessageHead | null)[]> {
  const rows = await runStatement<MessageHead>(context.database, BY_IDS, actor.tenantId, ids);
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.map((id) => byId.get(id) ?? null);
}

/** The message, or null when it is absent or another tenant's. */
export async function getMessage(
  context: Context,
  actor: Actor,
  messageId: string,
): Promise<MessageHead | null> {
  requireScope(actor, 'conversations:read');
  const id = decodeId('message', messageId);
  const [message = null] = id ? await messagesByIds(context, actor, [id]) : [];
  return message;
}

const LAST_OF_THREADS = `
SELECT ${MESSAGE_HEAD}
FROM unnest($2::uuid[], $3::int[]) AS last (thread_id, position)
JOIN conversation_message USING (thread_id, position)
WHERE tenant_id = $1`;

/** The newest message of each thread. */
export async function lastMessages(
  context: Context,
  actor: Actor,
  threads: readonly Pick<Thread, 'id' | 'lastPosition'>[],
): Promise<(MessageHead | null)[]> {
  const rows = await runStatement<MessageHead>(
    context.database,
    LAST_OF_THREADS,
    actor.tenantId,
    threads.map(({ id }) => id),
    threads.map(({ lastPosition }) => lastPosition),
  );
  const byThread = new Map(rows.map((row) => [row.threadId, row]));
  return threads.map(({ id }) => byThread.get(id) ?? null);
}

type Direction = Message['direction'] | null;

const messageList = (actor: Actor, threadId: string, direction: Direction): List => ({
  name: `${actor.tenantId}/threads/${threadId}/messages/${direction ?? ''}`,
  order: [{ field: 'position', kind: 'int', direction: 'asc' }],
});

/** The messages of a thread by position ascending, as a Relay connection. */
export async function listMessages(
  context: Context,
  actor: Actor,
  threadId: string,
  direction: Direction,
  page: PageRequest,
) {
  requireScope(actor, 'conversations:read');
  return readPage<MessageHead>(
    messageList(actor, threadId, direction),
    page,
    ({ where, ...query }) =>
      context.database.message.findMany({
        where: { tenantId: actor.tenantId, threadId, ...(direction && { direction }), ...where },
        ...query,
        omit: { content: true },
      }),
    fitContents,
  );
}

/** The messages of many threads: of each the first (or last) page, in one statement. */
export async function firstMessagesOfThreads(
  context: Context,
  actor: Actor,
  threadIds: readonly string[],
  { direction = null, ...request }: PageRequest & { readonly direction?: Direction | undefined },
) {
  requireScope(actor, 'conversations:read');
  return readNestedPages<MessageHead>(
    context.database,
    actor.tenantId,
    {
      table: 'conversation_message',
      columns: MESSAGE_HEAD,
      parent: { column: 'thread_id', type: 'uuid' },
      orderBy: [{ column: 'position', direction: 'ASC' }],
      filter: { column: 'direction', type: 'message_direction', value: direction },
      fit: fitContents,
    },
    threadIds.map((key) => ({ key, list: messageList(actor, key, direction) })),
    request,
  );
}
