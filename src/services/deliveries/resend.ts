import { type Database, runStatement } from '../../database/client.js';
import { conflict, notFound } from '../../errors.js';
import type { Delivery, Webhook } from '../../generated/prisma/client.js';
import type { Actor } from '../actor.js';
import type { Context } from '../context.js';
import { getDelivery } from './deliveries.js';

/**
 * The due time that puts a delivery before all others of its lane, and long enough past for the next sweep to
 * ring for it if its bell is lost.
 */
export const FIRST_OF_LANE = (laneId: string) => `
  least(now() - interval '1 second', (
    SELECT min(o.due_at) FROM delivery o
    WHERE o.lane_id = ${laneId} AND o.status = 'pending' AND o.due_at IS NOT NULL
  )) - interval '1 millisecond'`;

/** What is about a message that is gone has nothing to send any more. */
const HAS_CONTENT = `(d.message_id IS NOT NULL OR d.event_type NOT LIKE 'message.%')`;

const RETRY = `
WITH again AS (
  UPDATE delivery d
  SET status = 'pending', in_order = d.in_order AND d.status = 'pending', lease_token = NULL,
      schedule_start = CASE WHEN d.status = 'pending' THEN d.schedule_start ELSE d.attempt_count END,
      due_at = ${FIRST_OF_LANE('d.lane_id')}
  FROM webhook w
  WHERE d.tenant_id = $1 AND d.id = $2::uuid AND d.kind = 'webhook' AND ${HAS_CONTENT}
    AND (d.status IN ('failed', 'delivered') OR (d.status = 'pending' AND d.lease_token IS NULL))
    AND w.tenant_id = d.tenant_id AND w.id = d.webhook_id AND w.status <> 'disabled'
  RETURNING d.tenant_id, d.webhook_id
)
UPDATE webhook_health h SET resting_until = now()
FROM again a
WHERE h.tenant_id = a.tenant_id AND h.webhook_id = a.webhook_id AND h.resting_until > now()`;

/**
 * Sends a delivery again at once: one that is settled from the start of its schedule and outside the order; one
 * that waits for its next attempt without waiting. One that is being sent stays as it is, and one that succeeded
 * before stays delivered whatever comes of it.
 * @throws ParleyError `not_found`; `conflict` when it was cancelled, its message is gone or its webhook is disabled
 */
export async function retryDelivery(context: Context, actor: Actor, deliveryId: string): Promise<Delivery> {
  const delivery = await getDelivery(context, actor, deliveryId);
  if (!delivery) throw notFound('Delivery');
  const { tenantId, id, status, messageId, eventType, webhookId } = delivery;
  if (status === 'cancelled') throw conflict('The delivery was cancelled');
  if (messageId === null && eventType.startsWith('message.')) throw conflict('Its message was deleted');
  const webhook =
    webhookId &&
    (await context.database.webhook.findUnique({ where: { tenantId_id: { tenantId, id: webhookId } } }));
  if (!webhook) throw notFound('Delivery');
  if (webhook.status === 'disabled') throw conflict('The webhook is disabled; resume it first');
  await runStatement(context.database, RETRY, tenantId, id);
  context.ringLanes([{ tenantId, laneId: webhook.id }]);
  return (await getDelivery(context, actor, deliveryId)) ?? delivery;
}

const DELIVERIES_A_STEP = 1_000;
/** So fast are failed deliveries sent again, unless the webhook's own rate is lower. */
const RECOVERIES_A_SECOND = 20;

const RECOVER = `
WITH failed AS (
  SELECT d.tenant_id, d.id FROM delivery d
  WHERE d.tenant_id = $1 AND d.lane_id = $2::uuid AND d.status = 'failed' AND d.id > $3::uuid
    AND d.created_at >= $4::timestamptz AND d.created_at <= $5::timestamptz AND ${HAS_CONTENT}
  ORDER BY d.id
  LIMIT ${DELIVERIES_A_STEP}
  FOR UPDATE
),
again AS (
  UPDATE delivery d
  SET status = 'pending', in_order = false, lease_token = NULL, schedule_start = d.attempt_count,
      due_at = $5::timestamptz + ($6::int + f.number) * $7::float8 * interval '1 second'
  FROM (SELECT *, row_number() OVER (ORDER BY id) - 1 AS number FROM failed) AS f
  WHERE d.tenant_id = f.tenant_id AND d.id = f.id
  RETURNING d.id
),
awoken AS (
  UPDATE webhook_health h SET resting_until = now()
  WHERE h.tenant_id = $1 AND h.webhook_id = $2::uuid AND h.resting_until > now() AND EXISTS (SELECT 1 FROM again)
)
SELECT count(*)::int AS count, (array_agg(id ORDER BY id DESC))[1]::text AS last FROM again`;

/** Makes the failed deliveries of a webhook since then due again, a few each second. Answers with how many. */
export async function recoverDeliveries(
  database: Database,
  { tenantId, id, ratePerSecond }: Pick<Webhook, 'tenantId' | 'id' | 'ratePerSecond'>,
  since: Date,
): Promise<number> {
  const start = new Date();
  const secondsApart = 1 / Math.min(ratePerSecond ?? RECOVERIES_A_SECOND, RECOVERIES_A_SECOND);
  let recovered = 0;
  for (let after = firstIdOf(since); ; ) {
    const [step] = await runStatement<{ count: number; last: string | null }>(
      database,
      RECOVER,
      tenantId,
      id,
      after,
      since,
      start,
      recovered,
      secondsApart,
    );
    recovered += step?.count ?? 0;
    if (!step?.last || step.count < DELIVERIES_A_STEP) return recovered;
    after = step.last;
  }
}

/** No UUIDv7 of that time or later is smaller: it begins with the milliseconds. */
function firstIdOf(time: Date): string {
  const hex = Math.max(0, time.getTime()).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}
