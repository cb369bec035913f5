import type { Database } from '../database/client.js';
import { notFound } from '../errors.js';
import { APPEND_EVENTS } from '../events/append.js';
import { decodeId } from '../ids.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { DELIVERED_OR } from './deliveries/settle.js';

const MESSAGES_A_STEP = 1_000;

/**
 * Before the messages go they are locked by a statement of its own: the one that follows then sees the
 * deliveries that a dispatcher wrote of them meanwhile, and none are written any more.
 */
const LOCK_MESSAGES = `
SELECT id FROM conversation_message
WHERE (tenant_id, id) IN (
  SELECT tenant_id, id FROM conversation_message
  WHERE tenant_id = $1 AND thread_id = $2::uuid
  ORDER BY position
  LIMIT $3
)
ORDER BY tenant_id, id
FOR UPDATE`;

/**
 * What was still to be sent of the messages that were locked is cancelled, and the messages go, with their logs.
 * First the messages are locked, then their deliveries, each in the order of all who lock them.
 */
const DELETE_MESSAGES = `
WITH doomed AS (
  SELECT m.tenant_id, m.id FROM conversation_message m
  WHERE m.tenant_id = $1 AND m.id = ANY ($2::uuid[])
),
waiting AS (
  SELECT d.tenant_id, d.id
  FROM delivery d JOIN doomed x ON d.tenant_id = x.tenant_id AND d.message_id = x.id
  WHERE d.status = 'pending'
  ORDER BY d.tenant_id, d.id
  FOR UPDATE OF d
),
cancelled AS (
  UPDATE delivery d SET status = ${DELIVERED_OR('cancelled')}, lease_token = NULL, due_at = NULL
  FROM waiting w
  WHERE d.tenant_id = w.tenant_id AND d.id = w.id
),
deleted AS (
  DELETE FROM conversation_message m USING doomed x WHERE m.tenant_id = x.tenant_id AND m.id = x.id
)
SELECT count(*)::int FROM doomed`;

/** No message can come into a locked thread, so whether it is empty is decided by the statement that follows. */
const LOCK_THREAD = `
SELECT id FROM conversation_thread WHERE tenant_id = $1 AND id = $2::uuid FOR UPDATE`;

/**
 * The thread itself, once its messages are gone, and the event that tells of it. It waits for messages to be
 * gone because it locks the counter, and messages are locked before that everywhere.
 */
const DELETE_THREAD = `
WITH deleted AS (
  DELETE FROM conversation_thread t
  WHERE t.tenant_id = $1 AND t.id = $2::uuid
    AND NOT EXISTS (SELECT 1 FROM conversation_message m WHERE m.tenant_id = t.tenant_id AND m.thread_id = t.id)
  RETURNING *
),
new_event AS (
  SELECT tenant_id, 1 AS ordinal, 'thread.deleted' AS type, workflow_id, participant_id, id AS thread_id,
         NULL::uuid AS message_id, NULL::int AS workflow_conversation_id,
         jsonb_build_object('status', status, 'metadata', metadata, 'messageCount', last_position,
                            'createdAt', created_at, 'updatedAt', updated_at) AS data
  FROM deleted
),
${APPEND_EVENTS}
SELECT count(*)::int AS deleted FROM deleted`;

/**
 * Deletes a thread for good, its messages in steps, so that a long thread holds no locks for long. Its events
 * stay; `thread.deleted` carries a snapshot of it.
 * @returns the deleted thread's id
 * @throws ParleyError `not_found`
 */
export async function deleteThread(context: Context, actor: Actor, threadId: string): Promise<string> {
  requireScope(actor, 'conversations:write');
  const id = decodeId('thread', threadId);
  if (!id) throw notFound('Thread');
  const { database } = context;
  const thread = { tenantId_id: { tenantId: actor.tenantId, id } };
  if (!(await database.thread.findUnique({ where: thread, select: { id: true } }))) throw notFound('Thread');
  // A message may arrive before the thread is locked; then it is not empty yet and both are done again.
  do {
    while ((await deleteMessages(database, actor.tenantId, id)) > 0);
  } while (
    !(await deleteEmptyThread(database, actor.tenantId, id)) &&
    (await database.thread.findUnique({ where: thread }))
  );
  context.hints.ring();
  return threadId;
}

/**
 * A step of messages. The second statement sees the deliveries that were dispatched before the messages were locked,
 * and takes only those messages: of one that came between the two it could miss a delivery, which would wait for ever.
 */
const deleteMessages = (database: Database, tenantId: string, threadId: string): Promise<number> =>
  database.$transaction(async (transaction) => {
    const locked = await transaction.$queryRawUnsafe<{ id: string }[]>(
      LOCK_MESSAGES,
      tenantId,
      threadId,
      MESSAGES_A_STEP,
    );
    if (locked.length === 0) return 0;
    await transaction.$queryRawUnsafe(
      DELETE_MESSAGES,
      tenantId,
      locked.map(({ id }) => id),
    );
    return locked.length;
  });

async function deleteEmptyThread(database: Database, tenantId: string, threadId: string): Promise<boolean> {
  const [, [outcome]] = await database.$transaction([
    database.$queryRawUnsafe(LOCK_THREAD, tenantId, threadId),
    database.$queryRawUnsafe<{ deleted: number }[]>(DELETE_THREAD, tenantId, threadId),
  ]);
  return outcome?.deleted === 1;
}
