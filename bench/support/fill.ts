import { tenantId } from './api.js';
import { withClient } from './stage.js';

export interface Filling {
  readonly tenants: number;
  /** In each tenant. */
  readonly threads: number;
  /** In each thread. */
  readonly messages: number;
}

/**
 * Writes a tenant with what so many inbound messages would have left: threads, messages, log and events. The
 * dispatcher finds nothing to do.
 */
const FILL = `
WITH tenant AS (
  INSERT INTO tenant (id, name) VALUES ($1, $1) RETURNING id
),
thread AS (
  INSERT INTO conversation_thread (tenant_id, id, workflow_id, participant_id, created_at, updated_at, last_position,
                                   reply_channel, reply_channel_key)
  SELECT tenant.id, uuid_v7(), 'workflow_' || n % 10, 'participant_' || n, now() - interval '1 day',
         now() - interval '1 day' + n * interval '1 second', $3, 'chat', 'participant_' || n
  FROM tenant, generate_series(1, $2::int) AS n
  RETURNING *
),
channel AS (
  INSERT INTO conversation_thread_channel (tenant_id, thread_id, channel) SELECT tenant_id, id, 'chat' FROM thread
),
message AS (
  INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content,
                                    content_bytes, search, created_at)
  SELECT t.tenant_id, uuid_v7(), t.id, position, 'inbound', 'chat', t.participant_id, content,
         octet_length(content::text), to_tsvector('simple', content ->> 'body'), t.updated_at
  FROM thread t, generate_series(1, $3::int) AS position,
       jsonb_build_object('body', format($4::text, position)) AS content
  RETURNING *
),
log AS (
  INSERT INTO conversation_message_log (tenant_id, message_id, timestamp, event)
  SELECT tenant_id, id, created_at, 'created' FROM message
),
event AS (
  INSERT INTO event (tenant_id, sequence, type, occurred_at, workflow_id, participant_id, thread_id, message_id, data)
  SELECT m.tenant_id, row_number() OVER (), 'message.created', m.created_at, t.workflow_id, t.participant_id, t.id, m.id,
         jsonb_build_object('direction', 'inbound', 'status', 'sent')
  FROM message m JOIN thread t ON t.id = m.thread_id
),
counter AS (
  INSERT INTO tenant_counter (tenant_id, last_sequence) SELECT id, $2::bigint * $3 FROM tenant
)
INSERT INTO dispatch_checkpoint (tenant_id, sequence) SELECT id, $2::bigint * $3 FROM tenant`;

/** Makes tenants, and with messages in them lets Postgres look at it all as it does by itself after a while. */
export async function fill(databaseUrl: string, { tenants, threads, messages }: Filling): Promise<void> {
  await withClient(databaseUrl, async (client) => {
    for (let number = 1; number <= tenants; number++) {
      await client.query(FILL, [tenantId(number), threads, messages, `Message %s: ${WORDS}`]);
    }
    if (messages > 0) await client.query('VACUUM ANALYZE');
  });
}

/** What messages say: about as long as one in a chat. */
export const WORDS =
  'Hello, I have a question about my order from last week: it has not arrived yet, and I leave on Friday.';
