import type pg from 'pg';

/** One message for some threads of every tenant, as ingestion writes it. $1 direction, $2 threads of each tenant */
const ARRIVE = `
WITH thread AS (
  UPDATE conversation_thread t SET last_position = t.last_position + 1, updated_at = now()
  FROM tenant, LATERAL (
    SELECT id FROM conversation_thread c WHERE c.tenant_id = tenant.id ORDER BY c.updated_at, c.id LIMIT $2::int
  ) AS oldest
  WHERE t.tenant_id = tenant.id AND t.id = oldest.id
  RETURNING t.*
),
message AS (
  INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content,
                                    content_bytes, search, created_at)
  SELECT t.tenant_id, uuid_v7(), t.id, t.last_position, $1::message_direction, 'chat', t.participant_id, m.content,
         m.content_bytes, m.search, now()
  FROM thread t JOIN conversation_message m ON m.tenant_id = t.tenant_id AND m.thread_id = t.id AND m.position = 1
  RETURNING *
),
log AS (
  INSERT INTO conversation_message_log (tenant_id, message_id, timestamp, event)
  SELECT tenant_id, id, created_at, 'created' FROM message
),
counter AS (
  UPDATE tenant_counter c SET last_sequence = c.last_sequence + n.count
  FROM (SELECT tenant_id, count(*) AS count FROM thread GROUP BY tenant_id) AS n
  WHERE c.tenant_id = n.tenant_id
  RETURNING c.tenant_id, c.last_sequence - n.count AS before
)
INSERT INTO event (tenant_id, sequence, type, occurred_at, workflow_id, participant_id, thread_id, message_id, data)
SELECT t.tenant_id, c.before + row_number() OVER (PARTITION BY t.tenant_id), 'message.created', now(), t.workflow_id, t.participant_id, t.id, m.id,
       jsonb_build_object('direction', $1::text, 'status', 'sent')
FROM thread t JOIN message m ON m.thread_id = t.id JOIN counter c ON c.tenant_id = t.tenant_id`;

/**
 * Many messages at once, so that a round begins with a backlog and nobody is busy with taking it in.
 * @returns how many
 */
export async function arrive(
  client: pg.Client,
  direction: 'inbound' | 'outbound',
  ofEachTenant: number,
): Promise<number> {
  const { rowCount } = await client.query(ARRIVE, [direction, ofEachTenant]);
  return rowCount ?? 0;
}
