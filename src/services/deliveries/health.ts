/** Why Parley stopped sending to a webhook, as `disabledReason` says it. */
export type DisabledReason = 'gone' | 'failing';

export interface DisabledWebhook {
  readonly tenantId: string;
  /** As it is stored. */
  readonly webhookId: string;
  readonly reason: DisabledReason;
}

/** After so many failures in a row a webhook rests: it is tried with one delivery at a time. */
const FAILURES_BEFORE_REST = 100;
/** The pause before the next try is this part of the time that it has been failing for, within bounds. */
const REST_SHARE = 0.1;
const SHORTEST_REST_SECONDS = 1;
const LONGEST_REST_SECONDS = 300;
/** Nothing but failures for so long disables it. */
const DISABLED_AFTER_DAYS = 5;

/**
 * The part of recording attempts that keeps their webhooks' health. It takes the attempts as `held` (tenant_id,
 * webhook_id, at, status_code, error) and ends with `disabled`, the webhooks that it disabled: those that answered
 * 410, and those that have failed for five days. A success among the attempts makes a webhook well; the row of one
 * that was and is well is not written. What was never sent, because its message is gone, says nothing.
 */
export const KEEP_HEALTH = `
fared AS (
  SELECT tenant_id, webhook_id, bool_or(error IS NULL) AS succeeded, bool_or(status_code = 410) AS gone,
         count(*)::int AS attempts, min(at) AS since
  FROM held
  WHERE webhook_id IS NOT NULL AND error IS DISTINCT FROM 'message_deleted'
  GROUP BY tenant_id, webhook_id
),
health AS (
  SELECT h.tenant_id, h.webhook_id, f.succeeded, f.gone, coalesce(h.failing_since, f.since) AS failing_since,
         h.failures + f.attempts AS failures
  FROM webhook_health h
  JOIN fared f ON f.tenant_id = h.tenant_id AND f.webhook_id = h.webhook_id
  WHERE h.failures > 0 OR NOT f.succeeded OR f.gone
  ORDER BY h.tenant_id, h.webhook_id
  FOR UPDATE OF h
),
kept AS (
  UPDATE webhook_health w
  SET failures = CASE WHEN h.succeeded THEN 0 ELSE h.failures END,
      failing_since = CASE WHEN NOT h.succeeded THEN h.failing_since END,
      resting_until = CASE WHEN NOT h.succeeded AND h.failures >= ${FAILURES_BEFORE_REST} THEN
        now() + least(greatest(
          (now() - h.failing_since) * ${REST_SHARE}, interval '${SHORTEST_REST_SECONDS} seconds'
        ), interval '${LONGEST_REST_SECONDS} seconds') END
  FROM health h
  WHERE w.tenant_id = h.tenant_id AND w.webhook_id = h.webhook_id
),
disabled AS (
  UPDATE webhook w
  SET status = 'disabled', disabled_reason = CASE WHEN h.gone THEN 'gone' ELSE 'failing' END, updated_at = now(),
      missed = w.missed + int8multirange(int8range(
        (SELECT c.last_sequence FROM tenant_counter c WHERE c.tenant_id = w.tenant_id), NULL, '()'))
  FROM health h
  WHERE w.tenant_id = h.tenant_id AND w.id = h.webhook_id AND w.status <> 'disabled'
    AND (h.gone OR (NOT h.succeeded AND h.failing_since <= now() - interval '${DISABLED_AFTER_DAYS} days'))
  RETURNING w.*
)`;
