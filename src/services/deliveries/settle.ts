import { type Database, runStatement } from '../../database/client.js';
import { rowsOfLists } from '../../database/lists.js';
import type { Hints } from '../../events/hints.js';
import { MOVE_STATUSES } from '../message-status.js';
import { type DisabledWebhook, disableFailing, disablingGone } from './disable.js';
import { FAIL_MESSAGES_OF } from './failed-messages.js';
import { KEEP_HEALTH } from './health.js';

/** What came of one attempt, and what follows from it. */
export interface Outcome {
  readonly tenantId: string;
  readonly deliveryId: string;
  readonly leaseToken: string;
  /** Which webhook it was sent to, and where; null for a signal. */
  readonly webhook: { readonly id: string; readonly url: string } | null;
  readonly status: 'pending' | 'delivered' | 'failed';
  /** When it is tried again; null when it is settled. */
  readonly dueAt: Date | null;
  readonly at: Date;
  readonly statusCode: number | null;
  readonly durationMs: number;
  readonly error: string | null;
  readonly responseBody: string | null;
  /** For the message's log, when the outcome moves its status. */
  readonly details: object;
}

/** One that had succeeded before it was sent again, whose row is `d`, stays delivered whatever comes of that. */
export const DELIVERED_OR = (status: 'failed' | 'cancelled') => `
  CASE WHEN EXISTS (
    SELECT 1 FROM delivery_attempt a WHERE a.tenant_id = d.tenant_id AND a.delivery_id = d.id AND a.error IS NULL
  ) THEN 'delivered' ELSE '${status}' END::delivery_status`;

/**
 * Records attempts, and moves the messages that succeeded in being delivered: the first success of a
 * `message.created` makes its message delivered, whatever became of its other deliveries. A result counts only with
 * the token of the claim that is still current. The messages are locked before the deliveries, as everywhere, because
 * whoever deletes a message gets from it to its deliveries. What had been delivered before moves no message.
 */
const RECORD = `
WITH input AS (
  SELECT * FROM ${rowsOfLists('text, uuid, uuid, text, delivery_status, timestamptz, timestamptz, int, int, text, text')}
    AS i (tenant_id, id, token, details, status, due_at, at, status_code, duration_ms, error, response_body)
),
locked_message AS (
  SELECT m.id FROM conversation_message m
  WHERE (m.tenant_id, m.id) IN (
    SELECT i.tenant_id, d.message_id
    FROM input i
    CROSS JOIN LATERAL (SELECT message_id FROM delivery WHERE tenant_id = i.tenant_id AND id = i.id LIMIT 1) AS d
    WHERE i.status <> 'pending'
  )
  ORDER BY m.tenant_id, m.id
  FOR NO KEY UPDATE
),
held AS (
  SELECT d.tenant_id, d.id, d.webhook_id, d.attempt_count + 1 AS number, i.token, i.details, i.status AS outcome,
         i.due_at AS next_due_at, i.at, i.status_code, i.duration_ms, i.error, i.response_body
  FROM (SELECT * FROM input WHERE (SELECT count(*) FROM locked_message) >= 0 ORDER BY tenant_id, id) AS i
  CROSS JOIN LATERAL (
    SELECT * FROM delivery
    WHERE tenant_id = i.tenant_id AND id = i.id AND lease_token = i.token AND status = 'pending'
    FOR UPDATE
  ) AS d
),
settled AS (
  UPDATE delivery d
  SET status = CASE WHEN h.outcome = 'failed' THEN ${DELIVERED_OR('failed')} ELSE h.outcome END,
      attempt_count = h.number, due_at = h.next_due_at,
      lease_token = CASE WHEN h.outcome = 'pending' THEN NULL ELSE h.token END
  FROM held h
  WHERE d.tenant_id = h.tenant_id AND d.id = h.id
  RETURNING d.tenant_id, d.message_id, d.event_type, h.outcome, h.details
),
attempts AS (
  INSERT INTO delivery_attempt (tenant_id, delivery_id, number, at, status_code, duration_ms, error, response_body)
  SELECT tenant_id, id, number, at, status_code, duration_ms, error, response_body FROM held
),
${KEEP_HEALTH},
move AS (
  SELECT DISTINCT ON (tenant_id, message_id)
         tenant_id, message_id, 'delivered'::message_status AS status, details::jsonb AS details
  FROM settled
  WHERE event_type = 'message.created' AND message_id IS NOT NULL AND outcome = 'delivered'
  ORDER BY tenant_id, message_id
),
${MOVE_STATUSES}
SELECT coalesce(jsonb_agg(jsonb_build_object('tenantId', tenant_id, 'webhookId', webhook_id)), '[]') AS failing
FROM failing`;

/**
 * Records what came of attempts, many in one transaction, moves the messages' statuses with it, and disables the
 * webhooks that answered 410 or have failed for too long.
 * @returns the webhooks that were disabled
 */
export async function settleDeliveries(
  database: Database,
  hints: Hints,
  outcomes: readonly Outcome[],
): Promise<readonly DisabledWebhook[]> {
  const column = <K extends keyof Outcome>(name: K) => outcomes.map((outcome) => outcome[name]);
  const settled = [
    column('tenantId'),
    column('deliveryId'),
    column('leaseToken'),
    outcomes.map(({ details }) => JSON.stringify(details)),
  ] as const;
  const attempts = [
    ...settled,
    column('status'),
    column('dueAt'),
    column('at'),
    column('statusCode'),
    column('durationMs'),
    column('error'),
    column('responseBody'),
  ] as const;
  const disabled: DisabledWebhook[] = [];
  let recorded: Recorded | undefined;
  if (outcomes.some(({ status }) => status === 'failed')) {
    const [[first], , ...gone] = await database.$transaction([
      database.$queryRawUnsafe<Recorded[]>(RECORD, ...attempts),
      database.$queryRawUnsafe<unknown[]>(FAIL_MESSAGES_OF, ...settled),
      ...disablingGone(outcomes).map((statement) =>
        database.$queryRawUnsafe<DisabledWebhook[]>(...statement),
      ),
    ]);
    recorded = first;
    disabled.push(...gone.flat());
  } else {
    [recorded] = await runStatement<Recorded>(database, RECORD, ...attempts);
  }
  if (outcomes.some(({ status }) => status !== 'pending')) hints.ring();
  return [...disabled, ...(await disableFailing(database, recorded?.failing ?? []))];
}

interface Recorded {
  readonly failing: readonly Pick<DisabledWebhook, 'tenantId' | 'webhookId'>[];
}
