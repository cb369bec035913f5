import { type Database, runStatement } from '../../database/client.js';

/** A thread with signals to send, or a webhook with deliveries to send: what one worker works on at a time. */
export interface Lane {
  readonly tenantId: string;
  readonly laneId: string;
  /** Of a thread: whose signals they are. */
  readonly workflowId?: string | null | undefined;
}

const TENANTS_A_STEP = 100;
/** Few enough for the deliveries of one step to begin while the next one is dispatched. */
const EVENTS_OF_A_TENANT_A_STEP = 100;

/**
 * Turns new events into signals and webhook deliveries. One statement: what it writes and how far it has come
 * are committed together, so a crash loses and repeats nothing. A tenant is held by one dispatcher at a time.
 *
 * Webhooks are read in the same snapshot as the events: an event that was committed after a webhook was
 * registered cannot be seen without it. One that is disabled has deliveries of what came before that; they are given
 * up with the rest. A status move goes to a webhook under the name `message.updated` if
 * it subscribed to that, and otherwise under its specific name. A signal of before its workflow's handler, which
 * wants none of those, is cancelled.
 *
 * The messages are locked in the order of all who lock messages, before the foreign key would lock them in
 * that of the log; a message that was deleted meanwhile is left out.
 */
const DISPATCH = `
WITH held AS (
  SELECT d.tenant_id, d.sequence
  FROM dispatch_checkpoint d
  JOIN tenant_counter c ON c.tenant_id = d.tenant_id
  WHERE c.last_sequence > d.sequence
  ORDER BY random()
  LIMIT $1
  FOR UPDATE OF d SKIP LOCKED
),
batch AS (
  SELECT e.*, e.data ->> 'direction' AS direction
  FROM held h
  CROSS JOIN LATERAL (
    SELECT * FROM event e
    WHERE e.tenant_id = h.tenant_id AND e.sequence > h.sequence
    ORDER BY e.sequence
    LIMIT $2
  ) e
),
advanced AS (
  UPDATE dispatch_checkpoint d SET sequence = b.last
  FROM (SELECT tenant_id, max(sequence) AS last FROM batch GROUP BY tenant_id) b
  WHERE d.tenant_id = b.tenant_id
),
outgoing AS (
  SELECT b.*, 'signal'::delivery_kind AS kind, b.thread_id AS lane_id, true AS in_order, NULL::uuid AS webhook_id
  FROM batch b
  WHERE b.type = 'message.created' AND b.direction = 'inbound'
  UNION ALL
  SELECT b.*, 'webhook', w.id, w.ordered, w.id
  FROM batch b
  JOIN webhook w ON w.tenant_id = b.tenant_id AND w.after_sequence < b.sequence AND NOT w.missed @> b.sequence
                AND b.type = ANY (w.events)
  WHERE b.type LIKE 'thread.%'
     OR (b.type LIKE 'message.%' AND b.direction = 'outbound'
         AND NOT (b.type IN ('message.delivered', 'message.read', 'message.failed')
                  AND 'message.updated' = ANY (w.events)))
),
present AS (
  SELECT m.tenant_id, m.id FROM conversation_message m
  WHERE (m.tenant_id, m.id) IN (SELECT tenant_id, message_id FROM outgoing)
  ORDER BY m.tenant_id, m.id
  FOR KEY SHARE
),
written AS (
  INSERT INTO delivery (tenant_id, id, kind, lane_id, in_order, event_sequence, event_type, occurred_at, data,
                        workflow_id, thread_id, message_id, webhook_id, due_at, status)
  SELECT tenant_id, uuid_v7(), kind, lane_id, in_order, sequence, type, occurred_at,
         -- A deleted thread has no row to read its participant from, and its event may be trimmed before it is sent.
         CASE WHEN type LIKE 'thread.%' THEN data || jsonb_build_object('participantId', participant_id) ELSE data END,
         workflow_id, thread_id, message_id, webhook_id, now(),
         CASE WHEN kind = 'signal' AND sequence <= (
           SELECT h.after_sequence FROM workflow_handler h
           WHERE h.tenant_id = o.tenant_id AND h.workflow_id IN (o.workflow_id, '*')
           ORDER BY h.workflow_id = '*'
           LIMIT 1
         ) THEN 'cancelled' ELSE 'pending' END::delivery_status
  FROM outgoing o
  WHERE message_id IS NULL OR (tenant_id, message_id) IN (SELECT tenant_id, id FROM present)
  ORDER BY tenant_id, sequence
  ON CONFLICT (tenant_id, lane_id, event_sequence) DO NOTHING
  RETURNING tenant_id, lane_id, CASE WHEN kind = 'signal' THEN workflow_id END AS workflow_id
)
SELECT (SELECT count(*)::int FROM batch) AS "eventCount",
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
          'tenantId', tenant_id, 'laneId', lane_id, 'workflowId', workflow_id)), '[]')
        FROM (SELECT DISTINCT tenant_id, lane_id, workflow_id FROM written) AS lane) AS lanes`;

/** Dispatches a step of every tenant that has something new. Answers with the lanes to ring for. */
export async function dispatchEvents(database: Database): Promise<{ eventCount: number; lanes: Lane[] }> {
  const [step] = await runStatement<{ eventCount: number; lanes: Lane[] }>(
    database,
    DISPATCH,
    TENANTS_A_STEP,
    EVENTS_OF_A_TENANT_A_STEP,
  );
  return step ?? { eventCount: 0, lanes: [] };
}
