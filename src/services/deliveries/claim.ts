import { randomUUID } from 'node:crypto';
import { type Database, runStatement } from '../../database/client.js';
import { rowsOfLists } from '../../database/lists.js';
import type { PreviousSecret } from '../webhook-secrets.js';
import type { Lane } from './dispatch.js';
import { LEASE_MS } from './leases.js';

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
    readonly createdAt: Date;
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

/** How many deliveries of one webhook are under way at once, over all processes. */
const MAX_UNDER_WAY = 20;
/** What a rate limit lets through at once after a pause: a quarter of a second's worth, but at least one. */
const BURST_SECONDS = 0.25;
/** A larger content does not come with its claim. */
const MAX_CLAIMED_CONTENT_BYTES = 64 * 1024;

/**
 * Claims the due deliveries of lanes: of those in order only the first, and only if nothing earlier is
 * pending; of the others as many as asked. A claim moves `due_at` to the end of the lease, so "due" is all
 * that other claimers look at.
 *
 * A webhook takes what it is allowed to: nothing unless it is enabled, no more than MAX_UNDER_WAY, no more than
 * its rate (its health row remembers up to when the rate is used up), and while it rests from failing one alone,
 * once the rest is over. That row is locked only when it limits something, before the deliveries, which are
 * never waited for.
 *
 * What is looked up by its key is compared as text, because Postgres, which often has last seen that nothing is due,
 * would otherwise take the index of what is due for the shorter way, and walk a backlog for each row.
 * What is locked is looked up lane by lane: a join may be planned while the table has a few rows, by walking it for each
 * lane, and such a plan is kept while it grows.
 */
const CLAIM = `
WITH lane AS (
  SELECT i.tenant_id, i.lane_id, i.slots, w.status, w.rate_per_second::float8 AS rate
  FROM ${rowsOfLists('text, uuid, int')} AS i (tenant_id, lane_id, slots)
  LEFT JOIN webhook w ON w.tenant_id = i.tenant_id AND w.id = i.lane_id
),
limited AS (
  SELECT h.tenant_id, h.webhook_id, h.resting_until, l.rate,
         greatest(h.rated_until, now() - greatest(1 / l.rate, ${BURST_SECONDS}) * interval '1 second') AS rated_from
  FROM lane l
  JOIN webhook_health h ON h.tenant_id = l.tenant_id AND h.webhook_id = l.lane_id
  WHERE l.status = 'enabled' AND (h.resting_until IS NOT NULL OR l.rate IS NOT NULL)
  ORDER BY h.tenant_id, h.webhook_id
  FOR UPDATE OF h
),
allowance AS (
  SELECT w.tenant_id, w.lane_id, l.resting_until, l.rated_from, l.rate,
         CASE
           WHEN w.status IS NULL THEN w.slots
           WHEN w.status <> 'enabled' OR l.resting_until > now() THEN 0
           WHEN l.resting_until IS NOT NULL THEN greatest(0, 1 - u.count)
           ELSE greatest(0, least(
             w.slots, ${MAX_UNDER_WAY} - u.count,
             floor(extract(epoch FROM now() - l.rated_from) * l.rate + 0.000001)::int
           ))
         END AS slots
  FROM lane w
  LEFT JOIN limited l ON l.tenant_id = w.tenant_id AND l.webhook_id = w.lane_id
  CROSS JOIN LATERAL (
    SELECT count(*)::int AS count FROM delivery
    WHERE w.status = 'enabled' AND lane_id = w.lane_id AND kind = 'webhook' AND status = 'pending'
      AND lease_token IS NOT NULL AND due_at > now()
  ) u
),
in_order AS (
  SELECT d.tenant_id, d.id, d.lane_id, d.due_at, a.slots
  FROM allowance a
  CROSS JOIN LATERAL (
    SELECT id FROM delivery
    WHERE lane_id = a.lane_id AND status = 'pending' AND in_order
    ORDER BY event_sequence
    LIMIT 1
  ) AS earliest
  CROSS JOIN LATERAL (
    SELECT * FROM delivery
    WHERE tenant_id = a.tenant_id AND id = earliest.id AND status::text = 'pending' AND due_at <= now()
    FOR UPDATE SKIP LOCKED
  ) AS d
  WHERE a.slots > 0
),
out_of_order AS (
  SELECT d.tenant_id, d.id, d.lane_id, d.due_at, a.slots
  FROM allowance a
  CROSS JOIN LATERAL (
    SELECT * FROM delivery
    WHERE lane_id = a.lane_id AND status = 'pending' AND due_at IS NOT NULL AND due_at <= now() AND NOT in_order
    ORDER BY due_at
    LIMIT a.slots
    FOR UPDATE SKIP LOCKED
  ) AS d
  WHERE a.slots > 0 AND d.tenant_id = a.tenant_id
),
claimed AS (
  UPDATE delivery d SET lease_token = $4::uuid, due_at = now() + $5 * interval '1 millisecond'
  FROM (
    SELECT *, row_number() OVER (PARTITION BY lane_id ORDER BY due_at) AS place
    FROM (SELECT * FROM in_order UNION ALL SELECT * FROM out_of_order) AS due
  ) AS c
  WHERE c.place <= c.slots AND d.tenant_id = c.tenant_id AND d.id = c.id
    AND d.status::text = 'pending' AND d.due_at <= now()
  RETURNING d.*
),
used AS (
  UPDATE webhook_health h
  SET rated_until = l.rated_from + c.count / l.rate * interval '1 second',
      resting_until = CASE WHEN l.resting_until IS NOT NULL THEN now() + $5 * interval '1 millisecond' END
  FROM limited l
  JOIN (SELECT lane_id, count(*) AS count FROM claimed GROUP BY lane_id) AS c ON c.lane_id = l.webhook_id
  WHERE h.tenant_id = l.tenant_id AND h.webhook_id = l.webhook_id
),
pause AS (
  SELECT a.lane_id, extract(epoch FROM CASE
           WHEN a.resting_until > now() THEN a.resting_until
           WHEN a.resting_until IS NULL AND (SELECT count(*) FROM claimed c WHERE c.lane_id = a.lane_id) = a.slots
             THEN a.rated_from + (a.slots + 1) / a.rate * interval '1 second'
         END - now()) * 1000 AS milliseconds
  FROM allowance a
  WHERE (a.resting_until IS NOT NULL OR a.rate IS NOT NULL) AND EXISTS (
    SELECT 1 FROM delivery d
    WHERE d.lane_id = a.lane_id AND d.status = 'pending' AND d.due_at IS NOT NULL AND d.due_at <= now()
  )
)
SELECT coalesce(c.lane_id, p.lane_id) AS "laneId", p.milliseconds::float8 AS "pauseMs",
       c.tenant_id AS "tenantId", c.id, c.kind::text AS kind, c.lease_token AS "leaseToken",
       c.event_type AS "eventType", c.occurred_at AS "occurredAt", c.data, c.attempt_count AS "attemptCount",
       c.schedule_start AS "scheduleStart",
       c.thread_id AS "threadId", c.workflow_id AS "workflowId",
       coalesce(t.participant_id, c.data ->> 'participantId') AS "participantId",
       m.id AS "messageId", m.channel, m.channel_key AS "channelKey", m.content_bytes AS "contentBytes",
       CASE WHEN m.content_bytes <= ${MAX_CLAIMED_CONTENT_BYTES} THEN m.content END AS content,
       m.metadata, m.direction::text AS direction, m.created_at AS "createdAt",
       CASE
         WHEN w.id IS NOT NULL THEN jsonb_build_object(
           'id', w.id, 'url', w.url, 'sealedSecret', encode(w.sealed_secret, 'base64'), 'headers', w.headers,
           'previousSecrets', w.previous_secrets)
         WHEN h.kind = 'http' THEN jsonb_build_object(
           'id', h.id, 'url', h.url, 'sealedSecret', encode(h.sealed_secret, 'base64'), 'headers', '{}'::jsonb,
           'previousSecrets', '[]'::jsonb)
       END AS target,
       CASE WHEN h.kind = 'queue' THEN h.queue END AS queue
FROM claimed c
FULL JOIN pause p ON p.lane_id = c.lane_id
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

/** A lane that is looked at, and how many of its deliveries there is room for. */
export interface Look {
  readonly lane: Lane;
  readonly limit: number;
}

type Message = NonNullable<ClaimedDelivery['message']>;

/** A delivery with the parts of its message, or a lane that pauses, or both. */
type Row = Omit<ClaimedDelivery, 'id' | 'message'> &
  Omit<Message, 'id'> & {
    readonly laneId: string;
    readonly pauseMs: number | null;
    readonly id: string | null;
    readonly messageId: string | null;
  };

/**
 * Claims due deliveries of different lanes, under a fresh token.
 * @returns a claim for each lane, in their order
 */
export async function claimDeliveries(database: Database, looks: readonly Look[]): Promise<Claim[]> {
  const rows = await runStatement<Row>(
    database,
    CLAIM,
    looks.map(({ lane }) => lane.tenantId),
    looks.map(({ lane }) => lane.laneId),
    looks.map(({ limit }) => limit),
    randomUUID(),
    LEASE_MS,
  );
  const claims = new Map<string, { deliveries: ClaimedDelivery[]; pauseMs: number | null }>();
  for (const row of rows) {
    const claim = claims.get(row.laneId) ?? { deliveries: [], pauseMs: row.pauseMs };
    claims.set(row.laneId, claim);
    if (row.id !== null) claim.deliveries.push(toDelivery(row, row.id));
  }
  return looks.map(({ lane }) => claims.get(lane.laneId) ?? { deliveries: [], pauseMs: null });
}

function toDelivery(row: Row, id: string): ClaimedDelivery {
  const { laneId, pauseMs, messageId, ...rest } = row;
  const { channel, channelKey, content, contentBytes, metadata, direction, createdAt, ...delivery } = rest;
  const message = { channel, channelKey, content, contentBytes, metadata, direction, createdAt };
  return { ...delivery, id, message: messageId === null ? null : { id: messageId, ...message } };
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
