import { z } from 'zod';
import { runStatement } from '../database/client.js';
import { notFound } from '../errors.js';
import { APPEND_EVENTS } from '../events/append.js';
import { decodeId } from '../ids.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { parseInput } from './input.js';
import { type MessageWithLogs, withLogs } from './message-pages.js';
import { metadata } from './threads.js';

/**
 * The end of every statement that moves message statuses. It takes a `move (tenant_id, message_id, status,
 * details)`, locks the messages in one order, makes the moves that are legal from what they are then (sent → delivered
 * → read, never backwards; failed from sent or delivered; failed → delivered), writes a log row for each and appends
 * `message.updated` and the specific event. Any other move changes nothing.
 */
export const MOVE_STATUSES = `
  movable AS (
    SELECT m.tenant_id, m.id, m.status AS present, v.status AS target, v.details
    FROM conversation_message m
    JOIN move v ON v.tenant_id = m.tenant_id AND v.message_id = m.id
    ORDER BY m.tenant_id, m.id
    FOR NO KEY UPDATE OF m
  ),
  moved AS (
    UPDATE conversation_message m SET status = v.target
    FROM movable v
    WHERE m.tenant_id = v.tenant_id AND m.id = v.id
      AND (v.present, v.target) IN (
        ('sent', 'delivered'), ('sent', 'read'), ('sent', 'failed'),
        ('delivered', 'read'), ('delivered', 'failed'), ('failed', 'delivered')
      )
    RETURNING m.*, v.details
  ),
  logged AS (
    INSERT INTO conversation_message_log (tenant_id, message_id, timestamp, event, details)
    SELECT tenant_id, id, now(), status::text::message_log_event, details FROM moved
  ),
  new_event AS (
    SELECT m.tenant_id, row_number() OVER (ORDER BY m.id, e.specific) AS ordinal,
           CASE WHEN e.specific THEN 'message.' || m.status::text ELSE 'message.updated' END AS type,
           t.workflow_id, t.participant_id, m.thread_id, m.id AS message_id, NULL::int AS workflow_conversation_id,
           jsonb_build_object('direction', m.direction, 'status', m.status) AS data
    FROM moved m
    JOIN conversation_thread t ON t.tenant_id = m.tenant_id AND t.id = m.thread_id
    CROSS JOIN (VALUES (false), (true)) AS e (specific)
  ),
  ${APPEND_EVENTS}`;

const UPDATE_STATUS = `
WITH move AS (
  SELECT $1::text AS tenant_id, $2::uuid AS message_id, $3::message_status AS status, $4::jsonb AS details
),
${MOVE_STATUSES}
SELECT count(*) FROM moved`;

export const messageStatusUpdate = z
  .object({
    status: z
      .enum(['delivered', 'read', 'failed'])
      .meta({ description: 'What became of the message. It never moves backwards.' }),
    details: metadata
      .meta({ description: 'What to keep of it in the log of the message: a JSON object of up to 16 KB.' })
      .nullish(),
  })
  .meta({ id: 'MessageStatusUpdate', description: 'What an adapter learnt of a message.' });

/**
 * Records what an adapter learnt of a message: delivered, read or failed. A repeated or backward move changes
 * nothing and answers with the message as it is, with its log.
 * @throws ParleyError `not_found`, `invalid_request`
 */
export async function updateMessageStatus(
  context: Context,
  actor: Actor,
  messageId: string,
  input: unknown,
): Promise<MessageWithLogs> {
  requireScope(actor, 'conversations:write');
  const { status, details } = parseInput(messageStatusUpdate, input);
  const id = decodeId('message', messageId);
  if (!id) throw notFound('Message');
  const { tenantId } = actor;
  await runStatement(
    context.database,
    UPDATE_STATUS,
    tenantId,
    id,
    status,
    details ? JSON.stringify(details) : null,
  );
  const message = await context.database.message.findUnique({
    where: { tenantId_id: { tenantId, id } },
    include: withLogs,
  });
  if (!message) throw notFound('Message');
  context.hints.ring();
  return message;
}
