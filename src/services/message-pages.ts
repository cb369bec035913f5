import { z } from 'zod';
import { runStatement } from '../database/client.js';
import { notFound } from '../errors.js';
import type { MessageLogEntry } from '../events/log.js';
import type { Message, Thread } from '../generated/prisma/client.js';
import { decodeId } from '../ids.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { parseInput } from './input.js';
import { getThread, wholeNumber } from './threads.js';

export type MessageWithLogs = Message & { readonly logs: readonly MessageLogEntry[] };

/** What is read of a thread in one go, counted in bytes of content: a thread may hold far more than the memory. */
const MAX_BYTES_AT_ONCE = 8 * 1024 * 1024;

/** What a query includes to read the log with the message. */
export const withLogs = { logs: { orderBy: { id: 'asc' } } } as const;

/**
 * The message with its log.
 * @throws ParleyError `not_found`
 */
export async function getMessageWithLogs(
  context: Context,
  actor: Actor,
  messageId: string,
): Promise<MessageWithLogs> {
  requireScope(actor, 'conversations:read');
  const id = decodeId('message', messageId);
  const message =
    id &&
    (await context.database.message.findUnique({
      where: { tenantId_id: { tenantId: actor.tenantId, id } },
      include: withLogs,
    }));
  if (!message) throw notFound('Message');
  return message;
}

/** Query parameters of the documented thread route. */
export const messagesByNumber = z.object({
  page: wholeNumber(1, 1_000_000).default(1).meta({ description: 'Which page of the messages, from 1.' }),
  pageSize: wholeNumber(1, 500).default(100).meta({ description: 'How many messages a page has.' }),
});

/**
 * A thread and a page of its messages, for the documented REST route. Positions have no gaps, so a page is a range
 * of them. The messages come in batches, because a page may be larger than an answer that is built in memory.
 * @throws ParleyError `not_found`, `invalid_request`
 */
export async function readThreadByNumber(context: Context, actor: Actor, threadId: string, input: unknown) {
  const thread = await getThread(context, actor, threadId);
  if (!thread) throw notFound('Thread');
  const { page, pageSize } = parseInput(messagesByNumber, input);
  const range = { after: (page - 1) * pageSize, before: Math.min(page * pageSize, thread.lastPosition) + 1 };
  return {
    thread,
    batches: readBatches(context, thread, range),
    messagesPage: { page, pageSize, hasMore: thread.lastPosition > page * pageSize },
  };
}

async function* readBatches(
  context: Context,
  thread: Thread,
  { after, before }: Range,
): AsyncGenerator<MessageWithLogs[], void> {
  for (let position = after; position + 1 < before; ) {
    const batch = await readRange(context, thread, { after: position, before }, before - position, 'ASC');
    const last = batch.at(-1);
    // They are gone when the thread was deleted meanwhile.
    if (!last) return;
    yield batch;
    position = last.position;
  }
}

/** Query parameters of the route that pages by position. */
export const messagesByPosition = z.object({
  after: wholeNumber(0, 2 ** 31 - 1)
    .meta({ description: 'Only messages behind this position.' })
    .optional(),
  before: wholeNumber(0, 2 ** 31 - 1)
    .meta({ description: 'Only messages before this position; without `after`, the last ones before it.' })
    .optional(),
  limit: wholeNumber(1, 500)
    .default(50)
    .meta({ description: 'How many messages at most. Large messages make shorter pages; `hasMore` tells.' }),
});

/**
 * Messages of a thread by position ascending: those behind `after`, or with `before` alone the last ones before it.
 * There may be fewer than `limit` while `hasMore` is true: large messages make short pages.
 * @throws ParleyError `not_found`, `invalid_request`
 */
export async function listMessagesByPosition(
  context: Context,
  actor: Actor,
  threadId: string,
  input: unknown,
): Promise<{ messages: MessageWithLogs[]; hasMore: boolean }> {
  const thread = await getThread(context, actor, threadId);
  if (!thread) throw notFound('Thread');
  const { after, before, limit } = parseInput(messagesByPosition, input);
  const isBackward = before !== undefined && after === undefined;
  const range = {
    after: after ?? 0,
    before: Math.min(before ?? thread.lastPosition + 1, thread.lastPosition + 1),
  };
  const messages = await readRange(context, thread, range, limit, isBackward ? 'DESC' : 'ASC');
  const [first, last] = [messages[0], messages.at(-1)];
  if (!first || !last) return { messages: [], hasMore: false };
  const hasMore = isBackward ? first.position > range.after + 1 : last.position < range.before - 1;
  return { messages, hasMore };
}

/** Positions, both ends left out. */
interface Range {
  readonly after: number;
  readonly before: number;
}

/** The nearest ids of the range that together stay within the bytes; the first one in any case. */
const nearestIds = (direction: 'ASC' | 'DESC') => `
SELECT id FROM (
  SELECT id, content_bytes, sum(content_bytes) OVER (ORDER BY position ${direction}) AS bytes_so_far
  FROM (
    SELECT id, position, content_bytes FROM conversation_message
    WHERE tenant_id = $1 AND thread_id = $2::uuid AND position > $3::int AND position < $4::int
    ORDER BY position ${direction}
    LIMIT $5
  ) AS nearest
) AS summed
WHERE bytes_so_far <= $6::bigint OR bytes_so_far = content_bytes`;

const NEAREST = { ASC: nearestIds('ASC'), DESC: nearestIds('DESC') };

async function readRange(
  { database }: Context,
  { tenantId, id: threadId }: Thread,
  { after, before }: Range,
  limit: number,
  direction: 'ASC' | 'DESC',
): Promise<MessageWithLogs[]> {
  const found = await runStatement<{ id: string }>(
    database,
    NEAREST[direction],
    tenantId,
    threadId,
    after,
    before,
    limit,
    MAX_BYTES_AT_ONCE,
  );
  return database.message.findMany({
    where: { tenantId, id: { in: found.map(({ id }) => id) } },
    orderBy: { position: 'asc' },
    include: withLogs,
  });
}
