import { type Database, runStatement } from '../../database/client.js';
import type { PreviousSecret } from '../webhook-secrets.js';
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
  /** Null for a test of a webhook. */
  readonly threadId: string | null;
  readonly workflowId: string | null;
  readonly participantId: string | null;
  /** Null for thread events and tests, and when the message is gone. */
  readonly message: {
    readonly id: string;
    readonly channel: string;
    readonly channelKey: string;
    /** Null when it is large: `contentOf` reads it when there is room for it. */
    readonly content: object | null;
    /** As JSON text. */
    readonly contentBytes: number;
    readonly metadata: object;
    readonly direction: 'inbound' | 'outbound';
    readonly createdAt: string;
  } | null;
  /** Where it is posted to; null for a signal that goes to a queue, and while the workflow has no handler. */
  readonly target: {
    /** The handler's or the webhook's id, which the sealed secret is bound to. */
    readonly id: string;
    readonly url: string;
    /** In base64. */
    readonly sealedSecret: string;
    readonly headers: Record<string, string>;
    /** Those that were rotated away and may still sign. */
    readonly previousSecrets: readonly PreviousSecret[];
  } | null;
  /** The queue of the workflow's handler, as it was registered; null when it has none. */
  readonly queue: string | null;
}

/** How long a claim holds without a heartbeat: after this, the work of a killed worker is anyone's again. */
export const LEASE_MS = 8_000;
export const HEARTBEAT_MS = 2_500;
/** How many deliveries of one webhook are under way at once, over all processes. */
const MAX_UNDER_WAY = 20;
/** What a rate limit lets through at once after a pause: a quarter of a second's worth, but at least one. */
const BURST_SECONDS = 0.25;
/** A larger content does not come with its claim. */
const MAX_CLAIMED_CONTENT_BYTES = 64 * 1024;

/**
 * Claims the due deliveries of a lane: of those in order only the first, and only if nothing earlier is
 * pending; of the others as many as asked. A claim moves `due_at` to the end of the lease, so "due" is all
 * that other claimers look at.
 *
 * A webhook takes what it is allowed to: nothing unless it is enabled, no more than MAX_UNDER_WAY, no more than
 * its rate (its health row remembers up to when the rate is used up), and while it rests from failing one alone,
 * once the rest is over. That row is locked only when it limits something, before the deliveries, which are
 * never waited for.
 */
const CLAIM = `
WITH webhook_lane AS (
  SELECT w.status, w.rate_per_second::float8 AS rate FROM webhook w WHERE w.tenant_id = $1 AND w.id = $2::uuid
),
limited AS (
  SELECT h.resting_until, w.rate,
         greatest(h.rated_until, now() - greatest(1 / w.rate, ${BURST_SECONDS}) * interval '1 second') AS rated_from
  FROM webhook_health h, webhook_lane w
  WHERE h.tenant_id = $1 AND h.webhook_id = $2::uuid AND (h.resting_until IS NOT NULL OR w.rate IS NOT NULL)
  FOR UPDATE OF h
),
under_way AS (
  SELECT count(*)::int AS count FROM delivery
  WHERE lane_id = $2::uuid AND kind = 'webhook' AND status = 'pending' AND lease_token IS NOT NULL AND due_at > now()
),
allowance AS (
  SELECT CASE
           WHEN w.status IS NULL THEN $3
           WHEN w.status <> 'enabled' OR l.resting_until > now() THEN 0
           WHEN l.resting_until IS NOT NULL THEN greatest(0, 1 - u.count)
           ELSE greatest(0, least(
             $3, ${MAX_UNDER_WAY} - u.count,
             floor(extract(epoch FROM now() - l.rated_from) * l.rate + 0.000001)::int
           ))
         END AS slots
  FROM under_way u LEFT JOIN webhook_lane w ON true LEFT JOIN limited l ON true
),
first_in_order AS (
  SELECT tenant_id, id FROM delivery
  WHERE lane_id = $2::uuid AND status = 'pending' AND in_order
  ORDER BY event_sequence
  LIMIT 1
),
in_order AS (
  SELECT tenant_id, id, due_at FROM delivery
  WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM first_in_order) AND status = 'pending' AND due_at <= now()
  FOR UPDATE SKIP LOCKED
),
out_of_order AS (
  SELECT tenant_id, id, due_at FROM delivery
  WHERE lane_id = $2::uuid AND status = 'pending' AND due_at IS NOT NULL AND due_at <= now() AND NOT in_order
  ORDER BY due_at
  LIMIT (SELECT slots FROM allowance)
  FOR UPDATE SKIP LOCKED
),
claimed AS (
  UPDATE delivery d SET lease_token = $4::uuid, due_at = now() + $5 * interval '1 millisecond'
  FROM (
    SELECT tenant_id, id FROM (SELECT * FROM in_order UNION ALL SELECT * FROM out_of_order) AS due
    ORDER BY due_at
    LIMIT (SELECT slots FROM allowance)
  ) AS c
  WHERE d.tenant_id = c.tenant_id AND d.id = c.id AND d.tenant_id = $1
    AND d.status = 'pending' AND d.due_at <= now()
  RETURNING d.*
),
used AS (
  UPDATE webhook_health h
  SET rated_until = l.rated_from + c.count / l.rate * interval '1 second',
      resting_until = CASE WHEN l.resting_until IS NOT NULL THEN now() + $5 * interval '1 millisecond' END
  FROM limited l, (SELECT count(*) AS count FROM claimed) AS c
  WHERE h.tenant_id = $1 AND h.webhook_id = $2::uuid AND c.count > 0
),
pause AS (
  SELECT CASE WHEN w.status = 'enabled' AND EXISTS (
           SELECT 1 FROM delivery
           WHERE lane_id = $2::uuid AND status = 'pending' AND due_at IS NOT NULL AND due_at <= now()
         ) THEN extract(epoch FROM CASE
           WHEN l.resting_until > now() THEN l.resting_until
           WHEN l.resting_until IS NULL AND (SELECT count(*) FROM claimed) = a.slots
             THEN l.rated_from + (a.slots + 1) / l.rate * interval '1 second'
         END - now()) * 1000 END AS milliseconds
  FROM allowance a LEFT JOIN webhook_lane w ON true LEFT JOIN limited l ON true
)
SELECT p.milliseconds::float8 AS "pauseMs",
       c.tenant_id AS "tenantId", c.id, c.kind::text AS kind, c.lease_token AS "leaseToken",
       c.event_type AS "eventType", c.occurred_at AS "occurredAt", c.data, c.attempt_count AS "attemptCount",
       c.schedule_start AS "scheduleStart",
       c.thread_id AS "threadId", c.workflow_id AS "workflowId",
       coalesce(t.participant_id, c.data ->> 'participantId') AS "participantId",
       CASE WHEN m.id IS NOT NULL THEN jsonb_build_object(
         'id', m.id, 'channel', m.channel, 'channelKey', m.channel_key, 'contentBytes', m.content_bytes,
         'content', CASE WHEN m.content_bytes <= ${MAX_CLAIMED_CONTENT_BYTES} THEN m.content END,
         'metadata', m.metadata, 'direction', m.direction, 'createdAt', m.created_at
       ) END AS message,
       CASE
         WHEN w.id IS NOT NULL THEN jsonb_build_object(
           'id', w.id, 'url', w.url, 'sealedSecret', encode(w.sealed_secret, 'base64'), 'headers', w.headers,
           'previousSecrets', w.previous_secrets)
         WHEN h.kind = 'http' THEN jsonb_build_object(
           'id', h.id, 'url', h.url, 'sealedSecret', encode(h.sealed_secret, 'base64'), 'headers', '{}'::jsonb,
           'previousSecrets', '[]'::jsonb)
       END AS target,
       CASE WHEN h.kind = 'queue' THEN h.queue END AS queue
FROM pause p
LEFT JOIN claimed c ON true
LEFT JOIN conversation_thread t ON t.tenant_id = c.tenant_id AND t.id = c.thread_id
LEFT JOIN conversation_message m ON m.tenant_id = c.tenant_id AND m.id = c.message_id
LEFT JOIN webhook w ON w.tenant_id = c.tenant_id AND w.id = c.webhook_id
LEFT JOIN LATERAL (
  SELECT * FROM workflow_handler h
  WHERE c.kind = 'signal' AND h.tenant_id = c.tenant_id AND h.workflow_id IN (c.workflow_id, '*')
  ORDER BY h.workflow_id = '*'
  LIMIT 1
) h ON true
ORDER BY c.event_sequence`;

/** What a worker may send of a lane now. */
export interface Claim {
  readonly deliveries: readonly ClaimedDelivery[];
  /** When there is more that a webhook's rate or rest holds back: how long. Null: nothing to come back for. */
  readonly pauseMs: number | null;
}

/** Claims up to `limit` due deliveries of a lane under a fresh token. */
export async function claimDeliveries(
  database: Database,
  lane: Lane,
  limit: number,
  leaseToken: string,
): Promise<Claim> {
  const rows = await runStatement<ClaimedDelivery & { pauseMs: number | null }>(
    database,
    CLAIM,
    lane.tenantId,
    lane.laneId,
    limit,
    leaseToken,
    LEASE_MS,
  );
  return { deliveries: rows.filter(({ id }) => id !== null), pauseMs: rows[0]?.pauseMs ?? null };
}

const CONTENT = 'SELECT content FROM conversation_message WHERE tenant_id = $1 AND id = $2::uuid';

/** The content of a message. Null when the message is gone. */
export async function contentOf(
  database: Database,
  tenantId: string,
  messageId: string,
): Promise<object | null> {
  const [row] = await runStatement<{ content: object }>(database, CONTENT, tenantId, messageId);
  return row?.content ?? null;
}

/** What somebody else has locked at this moment is being settled. */
const EXTEND = `
WITH held AS (
  SELECT d.tenant_id, d.id FROM delivery d
  JOIN unnest($1::text[], $2::uuid[], $3::uuid[]) AS i (tenant_id, id, token)
    ON i.tenant_id = d.tenant_id AND i.id = d.id AND i.token = d.lease_token
  WHERE d.status = 'pending'
  ORDER BY d.tenant_id, d.id
  FOR UPDATE OF d SKIP LOCKED
)
UPDATE delivery d SET due_at = now() + $4 * interval '1 millisecond'
FROM held h
WHERE d.tenant_id = h.tenant_id AND d.id = h.id`;

/** The heartbeat of claims whose sending takes longer than a lease. */
export async function extendLeases(
  database: Database,
  claimed: readonly Pick<ClaimedDelivery, 'tenantId' | 'id' | 'leaseToken'>[],
): Promise<void> {
  await runStatement(
    database,
    EXTEND,
    claimed.map(({ tenantId }) => tenantId),
    claimed.map(({ id }) => id),
    claimed.map(({ leaseToken }) => leaseToken),
    LEASE_MS,
  );
}

const RELEASE = `
UPDATE delivery SET lease_token = NULL, due_at = now() + $4 * interval '1 millisecond'
WHERE tenant_id = $1 AND id = $2::uuid AND lease_token = $3::uuid AND status = 'pending'`;

/**
 * Gives a claimed delivery back without an attempt.
 * @param delayMs until it may be claimed again; null parks it until its workflow gets a handler
 */
export async function releaseDelivery(
  database: Database,
  { tenantId, id, leaseToken }: Pick<ClaimedDelivery, 'tenantId' | 'id' | 'leaseToken'>,
  delayMs: number | null,
): Promise<void> {
  await runStatement(database, RELEASE, tenantId, id, leaseToken, delayMs);
}
