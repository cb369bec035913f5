/** The types of a tenant's events, as they stand in the log, on webhooks and in server-sent events. */
export const eventTypes = [
  'thread.created',
  'thread.updated',
  'thread.deleted',
  'message.created',
  'message.updated',
  'message.delivered',
  'message.read',
  'message.failed',
  'conversation.created',
  'conversation.updated',
  'conversation.connected',
  'conversation.deleted',
  'run.updated',
] as const;

export type EventType = (typeof eventTypes)[number];

/**
 * The end of every statement that changes something: it numbers the rows of a preceding
 * `new_event (tenant_id, ordinal, type, workflow_id, participant_id, thread_id, message_id,
 * workflow_conversation_id, data)` by `ordinal` within their tenant and appends them to the log.
 *
 * The upsert takes the tenants' counters in sorted order and holds them until the commit that follows at
 * once. So numbers are given in commit order: a reader who sees event n sees every event before it.
 */
export const APPEND_EVENTS = `
  counter AS (
    INSERT INTO tenant_counter AS c (tenant_id, last_sequence)
    SELECT tenant_id, count(*) FROM new_event GROUP BY tenant_id ORDER BY tenant_id
    ON CONFLICT (tenant_id) DO UPDATE SET last_sequence = c.last_sequence + excluded.last_sequence
    RETURNING c.tenant_id, c.last_sequence
  ),
  appended AS (
    INSERT INTO event (tenant_id, sequence, type, occurred_at, workflow_id, participant_id, thread_id,
                       message_id, workflow_conversation_id, data)
    SELECT e.tenant_id,
           c.last_sequence + 1 - row_number() OVER (PARTITION BY e.tenant_id ORDER BY e.ordinal DESC),
           e.type, now(), e.workflow_id, e.participant_id, e.thread_id, e.message_id,
           e.workflow_conversation_id, e.data
    FROM new_event e JOIN counter c ON c.tenant_id = e.tenant_id
  )`;
