import { type Database, runStatement } from '../../database/client.js';
import type { Lane } from './dispatch.js';

/** A delivery that this worker may send now, with all that its request is made of. */
export interface ClaimedDelivery {
  readonly tenantId: string;
  readonly id: string;
  readonly kind: 'signal' | 'webhook';
  readonly leaseToken: string;
  readonly eventType: string;
  readonly occurredAt: Date;
  /** The status at that event; for thread events the snapshot of the thread. */
  readonly data: { readonly status?: string; readonly metadata?: object } | null;
  readonly attemptCount: number;
  /** How many attempts had been made when the retry schedule last began. */
  readonly scheduleStart: number;
  readonly threadId: string;
  readonly workflowId: string;
  readonly participantId: string | null;
  /** Null for thread events, and when the message is gone. */
  readonly message: {
    readonly id: string;
    readonly channel: string;
    readonly channelKey: string;
    readonly content: object;
    readonly metadata: object;
    readonly direction: 'inbound' | 'outbound';
    readonly createdAt: string;
  } | null;
  /** Null while the workflow has no handler. */
  readonly target: {
    /** The handler's or the webhook's id, which the sealed secret is bound to. */
    readonly id: string;
    readonly url: string;
    /** In base64. */
    readonly sealedSecret: string;
    readonly headers: Record<string, string>;
  } | null;
}

/** How long a claim holds without a heartbeat: after this, the work of a killed worker is anyone's again. */
export const LEASE_MS = 8_000;
export const HEARTBEAT_MS = 2_500;

/**
 * Claims the due deliveries of a lane: of those in order only the first, and only if nothing earlier is
 * pending; of the others as many as asked. A claim moves `due_at` to the end of the lease, so "due" is all
 * that other claimers look at.
 */
const CLAIM = `
WITH first_in_order AS (
  SELECT tenant_id, id, due_at FROM delivery
  WHERE lane_id = $2::uuid AND status = 'pending' AND in_order
  ORDER BY event_sequence
  LIMIT 1
),
out_of_order AS (
  SELECT tenant_id, id FROM delivery
  WHERE lane_id = $2::uuid AND status = 'pending' AND due_at IS NOT NULL AND due_at <= now() AND NOT in_order
  ORDER BY due_at
  LIMIT $3
  FOR UPDATE SKIP LOCKED
),
claimed AS (
  UPDATE delivery d SET lease_token = $4::uuid, due_at = now() + $5 * interval '1 millisecond'
  FROM (
    SELECT tenant_id, id FROM first_in_order WHERE due_at <= now()
    UNION ALL
    SELECT tenant_id, id FROM out_of_order
  ) AS c
  WHERE d.tenant_id = c.tenant_id AND d.id = c.id AND d.tenant_id = $1
    AND d.status = 'pending' AND d.due_at <= now()
    AND NOT EXISTS (
      SELECT 1 FROM webhook w WHERE w.tenant_id = d.tenant_id AND w.id = d.webhook_id AND w.status <> 'enabled'
    )
  RETURNING d.*
)
SELECT c.tenant_id AS "tenantId", c.id, c.kind::text AS kind, c.lease_token AS "leaseToken",
       c.event_type AS "eventType", c.occurred_at AS "occurredAt", c.data, c.attempt_count AS "attemptCount",
       c.schedule_start AS "scheduleStart",
       c.thread_id AS "threadId", c.workflow_id AS "workflowId",
       coalesce(t.participant_id, e.participant_id) AS "participantId",
       CASE WHEN m.id IS NOT NULL THEN jsonb_build_object(
         'id', m.id, 'channel', m.channel, 'channelKey', m.channel_key, 'content', m.content,
         'metadata', m.metadata, 'direction', m.direction, 'createdAt', m.created_at
       ) END AS message,
       CASE
         WHEN w.id IS NOT NULL THEN jsonb_build_object(
           'id', w.id, 'url', w.url, 'sealedSecret', encode(w.sealed_secret, 'base64'), 'headers', w.headers)
         WHEN h.id IS NOT NULL THEN jsonb_build_object(
           'id', h.id, 'url', h.url, 'sealedSecret', encode(h.sealed_secret, 'base64'), 'headers', '{}'::jsonb)
       END AS target
FROM claimed c
LEFT JOIN conversation_thread t ON t.tenant_id = c.tenant_id AND t.id = c.thread_id
LEFT JOIN event e ON t.id IS NULL AND e.tenant_id = c.tenant_id AND e.sequence = c.event_sequence
LEFT JOIN conversation_message m ON m.tenant_id = c.tenant_id AND m.id = c.message_id
LEFT JOIN webhook w ON w.tenant_id = c.tenant_id AND w.id = c.webhook_id
LEFT JOIN LATERAL (
  SELECT * FROM workflow_handler h
  WHERE c.kind = 'signal' AND h.tenant_id = c.tenant_id AND h.workflow_id IN (c.workflow_id, '*')
  ORDER BY h.workflow_id = '*'
  LIMIT 1
) h ON true
ORDER BY c.event_sequence`;

/** Claims up to `limit` due deliveries of a lane under a fresh token. */
export function claimDeliveries(
  database: Database,
  lane: Lane,
  limit: number,
  leaseToken: string,
): Promise<ClaimedDelivery[]> {
  return runStatement<ClaimedDelivery>(
    database,
    CLAIM,
    lane.tenantId,
    lane.laneId,
    limit,
    leaseToken,
    LEASE_MS,
  );
}

const EXTEND = `
UPDATE delivery SET due_at = now() + $3 * interval '1 millisecond'
WHERE tenant_id = $1 AND lease_token = $2::uuid AND status = 'pending' AND id = ANY ($4::uuid[])`;

/** The heartbeat of a claim whose sending takes longer than a lease. */
export async function extendLease(
  database: Database,
  tenantId: string,
  leaseToken: string,
  ids: readonly string[],
): Promise<void> {
  await runStatement(database, EXTEND, tenantId, leaseToken, LEASE_MS, ids);
}

const RELEASE = `
UPDATE delivery SET lease_token = NULL, due_at = CASE WHEN $3 THEN NULL ELSE now() END
WHERE tenant_id = $1 AND lease_token = $2::uuid AND status = 'pending' AND id = ANY ($4::uuid[])`;

/** Gives claimed deliveries back without an attempt; parked ones wait until their workflow gets a handler. */
export async function releaseDeliveries(
  database: Database,
  { tenantId, leaseToken }: { tenantId: string; leaseToken: string },
  ids: readonly string[],
  parked: boolean,
): Promise<void> {
  await runStatement(database, RELEASE, tenantId, leaseToken, parked, ids);
}
