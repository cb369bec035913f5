import { z } from 'zod';
import { runStatement, sqlState } from '../database/client.js';
import { invalidRequest, notFound } from '../errors.js';
import type { Thread } from '../generated/prisma/client.js';
import { decodeId } from '../ids.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { parseInput } from './input.js';

/** Whose reading is remembered: the user's, with whatever key, or that of a key that belongs to no user. */
const readerOf = ({ userId, keyId }: Actor): string => (userId === null ? `key:${keyId}` : `user:${userId}`);

const READ_POSITIONS = `
SELECT thread_id AS "threadId", position FROM conversation_thread_reader
WHERE tenant_id = $1 AND thread_id = ANY ($2::uuid[]) AND reader = $3`;

/** How many messages of each thread lie behind the position up to which the caller has read it. */
export async function unreadCounts(
  context: Context,
  actor: Actor,
  threads: readonly Pick<Thread, 'id' | 'lastPosition'>[],
): Promise<number[]> {
  const rows = await runStatement<{ threadId: string; position: number }>(
    context.database,
    READ_POSITIONS,
    actor.tenantId,
    threads.map(({ id }) => id),
    readerOf(actor),
  );
  const positions = new Map(rows.map(({ threadId, position }) => [threadId, position]));
  // The thread may have been read before the message that has been read since then.
  return threads.map(({ id, lastPosition }) => Math.max(0, lastPosition - (positions.get(id) ?? 0)));
}

const input = z.object({ id: z.string(), position: z.int32().min(0, 'must be at least 0') });

const MARK_READ = `
INSERT INTO conversation_thread_reader AS r (tenant_id, thread_id, reader, position)
VALUES ($1, $2::uuid, $3, $4)
ON CONFLICT (tenant_id, thread_id, reader) DO UPDATE SET position = excluded.position
WHERE r.position < excluded.position`;

const FOREIGN_KEY_VIOLATION = '23503';

/**
 * Remembers that the caller has read a thread up to a position. It only moves forward: a lower one changes
 * nothing. Nobody else sees it, so the thread is not updated by it and no event tells of it.
 * @throws ParleyError `not_found`; `invalid_request` for a position behind the last message
 */
export async function markThreadRead(context: Context, actor: Actor, given: unknown): Promise<Thread> {
  requireScope(actor, 'conversations:write');
  const { id: threadId, position } = parseInput(input, given);
  const { tenantId } = actor;
  const id = decodeId('thread', threadId);
  const thread =
    id && (await context.database.thread.findUnique({ where: { tenantId_id: { tenantId, id } } }));
  if (!thread) throw notFound('Thread');
  if (position > thread.lastPosition) {
    throw invalidRequest([{ field: 'position', issue: `must be at most ${thread.lastPosition}` }]);
  }
  await runStatement(context.database, MARK_READ, tenantId, thread.id, readerOf(actor), position).catch(
    (error: unknown) => {
      throw sqlState(error) === FOREIGN_KEY_VIOLATION ? notFound('Thread') : error;
    },
  );
  return thread;
}
