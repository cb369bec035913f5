import { randomUUID } from 'node:crypto';
import type { Database } from '../../database/client.js';
import type { Hints } from '../../events/hints.js';
import { encodeId } from '../../ids.js';
import { FAIL_MESSAGES_OF } from './failed-messages.js';
import { DELIVERED_OR } from './settle.js';

const DELIVERIES_A_STEP = 500;

/**
 * Finally fails what is pending for disabled webhooks; what is being sent settles first. The messages are locked
 * before the deliveries, as everywhere, and the webhooks last: one that was resumed meanwhile keeps what is pending,
 * and one that is still disabled stays so until its deliveries have failed, for whoever recovers them to see. A webhook
 * that is being deleted takes its deliveries with it instead.
 */
const ABANDON = `
WITH doomed AS (
  SELECT d.tenant_id, d.id, d.message_id
  FROM webhook w
  CROSS JOIN LATERAL (
    SELECT tenant_id, id, message_id FROM delivery
    WHERE lane_id = w.id AND status = 'pending' AND due_at IS NOT NULL
      AND (lease_token IS NULL OR due_at <= now())
    LIMIT $1
  ) AS d
  WHERE w.status = 'disabled' AND w.disabled_reason IS DISTINCT FROM 'deleted'
  LIMIT $1
),
locked_message AS (
  SELECT m.id FROM conversation_message m
  WHERE (m.tenant_id, m.id) IN (SELECT tenant_id, message_id FROM doomed)
  ORDER BY m.tenant_id, m.id
  FOR NO KEY UPDATE
),
locked AS (
  SELECT d.tenant_id, d.id, d.lane_id FROM delivery d
  WHERE (d.tenant_id, d.id) IN (SELECT tenant_id, id FROM doomed) AND (SELECT count(*) FROM locked_message) >= 0
    AND d.status = 'pending' AND (d.lease_token IS NULL OR d.due_at <= now())
  ORDER BY d.tenant_id, d.id
  FOR UPDATE SKIP LOCKED
),
still AS (
  SELECT w.tenant_id, w.id FROM webhook w
  WHERE (w.tenant_id, w.id) IN (SELECT tenant_id, lane_id FROM locked) AND w.status = 'disabled'
  ORDER BY w.tenant_id, w.id
  FOR SHARE
)
UPDATE delivery d
SET status = ${DELIVERED_OR('failed')}, due_at = NULL, lease_token = $2::uuid
FROM locked l
JOIN still s ON s.tenant_id = l.tenant_id AND s.id = l.lane_id
WHERE d.tenant_id = l.tenant_id AND d.id = l.id
RETURNING d.tenant_id AS "tenantId", d.id, d.attempt_count AS "attemptCount"`;

interface Abandoned {
  readonly tenantId: string;
  readonly id: string;
  readonly attemptCount: number;
}

/**
 * Gives up a step of what is pending for disabled webhooks, and moves the messages' statuses with it.
 * @returns whether there may be more
 */
export async function abandonDeliveries(database: Database, hints: Hints): Promise<boolean> {
  const token = randomUUID();
  // Two statements: the second sees what others settled of the same messages before they were locked.
  const abandoned = await database.$transaction(async (transaction) => {
    const rows = await transaction.$queryRawUnsafe<Abandoned[]>(ABANDON, DELIVERIES_A_STEP, token);
    if (rows.length > 0) {
      await transaction.$queryRawUnsafe(
        FAIL_MESSAGES_OF,
        rows.map(({ tenantId }) => tenantId),
        rows.map(({ id }) => id),
        rows.map(() => token),
        rows.map(({ id, attemptCount }) =>
          JSON.stringify({
            deliveryId: encodeId('delivery', id),
            attempts: attemptCount,
            error: 'webhook_disabled',
          }),
        ),
      );
    }
    return rows;
  });
  if (abandoned.length > 0) hints.ring();
  return abandoned.length === DELIVERIES_A_STEP;
}
