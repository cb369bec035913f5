/** After so many failures in a row a webhook rests: it is tried with one delivery at a time. */
const FAILURES_BEFORE_REST = 100;
/** The pause before the next try is this part of the time that it has been failing for, within bounds. */
const REST_SHARE = 0.1;
const SHORTEST_REST_SECONDS = 1;
const LONGEST_REST_SECONDS = 300;
/** Nothing but failures for so long disables it. */
const DISABLED_AFTER_DAYS = 5;

/** Of a health row `h`: that its webhook has failed for long enough to be disabled. */
export const STILL_FAILING = `h.failing_since <= now() - interval '${DISABLED_AFTER_DAYS} days'`;

/**
 * The part of recording attempts that keeps their webhooks' health. It takes the attempts as `held` (tenant_id,
 * webhook_id, at, error) and ends with `failing`, the webhooks that have failed for five days. A success among the
 * attempts makes a webhook well; the row of one that was and is well is not written. What was never sent, because its
 * message is gone, says nothing.
 */
export const KEEP_HEALTH = `
fared AS (
  SELECT tenant_id, webhook_id, bool_or(error IS NULL) AS succeeded, count(*)::int AS attempts, min(at) AS since
  FROM held
  WHERE webhook_id IS NOT NULL AND error IS DISTINCT FROM 'message_deleted'
  GROUP BY tenant_id, webhook_id
),
health AS (
  SELECT h.tenant_id, h.webhook_id, f.succeeded, coalesce(h.failing_since, f.since) AS failing_since,
         h.failures + f.attempts AS failures
  FROM webhook_health h
  JOIN fared f ON f.tenant_id = h.tenant_id AND f.webhook_id = h.webhook_id
  WHERE h.failures > 0 OR NOT f.succeeded
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
failing AS (
  SELECT h.tenant_id, h.webhook_id FROM health h WHERE NOT h.succeeded AND ${STILL_FAILING}
)`;
