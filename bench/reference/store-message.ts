/**
 * What a good engineer would write by hand to store one inbound message: one statement, prepared, that writes the
 * rows of Parley's tables (thread, message with its search words, log, events) with positions and sequences without
 * gaps. No idempotency keys, attachments, reactivation of closed threads, or list of a thread's channels.
 *
 * $1 tenant, $2 workflow, $3 participant, $4 channel, $5 channel key, $6 content, $7 its words
 */
export const STORE_MESSAGE = `
WITH thread AS (
  INSERT INTO conversation_thread AS t (
    tenant_id, id, workflow_id, participant_id, created_at, updated_at, last_position, reply_channel, reply_channel_key
  )
  VALUES ($1, uuidv7(), $2, $3, now(), now(), 1, $4, $5)
  ON CONFLICT (tenant_id, workflow_id, participant_id) DO UPDATE SET
    last_position = t.last_position + 1, updated_at = now(), status = 'active',
    reply_channel = excluded.reply_channel, reply_channel_key = excluded.reply_channel_key
  RETURNING tenant_id, id, last_position
),
message AS (
  INSERT INTO conversation_message (
    tenant_id, id, thread_id, position, direction, channel, channel_key, content, content_bytes, search, created_at
  )
  SELECT tenant_id, uuidv7(), id, last_position, 'inbound', $4, $5, $6::text::jsonb, octet_length($6::text),
         to_tsvector('simple', $7), now()
  FROM thread
  RETURNING id
),
log AS (
  INSERT INTO conversation_message_log (tenant_id, message_id, timestamp, event)
  SELECT $1, id, now(), 'created' FROM message
),
counter AS (
  INSERT INTO tenant_counter AS c (tenant_id, last_sequence)
  SELECT tenant_id, CASE WHEN last_position = 1 THEN 2 ELSE 1 END FROM thread
  ON CONFLICT (tenant_id) DO UPDATE SET last_sequence = c.last_sequence + excluded.last_sequence
  RETURNING last_sequence
),
events AS (
  INSERT INTO event (tenant_id, sequence, type, occurred_at, workflow_id, participant_id, thread_id, message_id, data)
  SELECT $1, c.last_sequence, 'message.created', now(), $2, $3, t.id, m.id,
         '{"direction": "inbound", "status": "sent"}'::jsonb
  FROM thread t, message m, counter c
  UNION ALL
  SELECT $1, c.last_sequence - 1, 'thread.created', now(), $2, $3, t.id, NULL,
         '{"status": "active", "metadata": {}}'::jsonb
  FROM thread t, counter c
  WHERE t.last_position = 1
)
SELECT t.id AS "threadId", m.id AS "messageId", t.last_position AS position, now() AS "createdAt"
FROM thread t, message m`;
