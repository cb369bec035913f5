import { type Database, runStatement } from '../database/client.js';
import type { Log } from '../log.js';
import { type Poller, startPoller } from './poller.js';

const LONGEST_INTERVAL_MS = 60_000;
const TENANTS_A_STEP = 10;
const EVENTS_OF_A_TENANT_A_STEP = 500;
/** Of no meaning, but the same in every process. */
const TRIM_LOCK = 7_265_904;

/**
 * Takes the oldest events of some tenants away, as far as they are old enough and were dispatched, and writes down
 * where their logs begin now. Of several workers the first one does it, and the others nothing.
 *
 * The log is trimmed from its front and nowhere else: events are not strictly ordered by their times, so it ends
 * before the first that is to stay.
 */
const TRIM = `
WITH turn AS MATERIALIZED (
  SELECT pg_try_advisory_xact_lock(${TRIM_LOCK}) AS is_ours, now() - $1 * interval '1 millisecond' AS cutoff
),
due AS (
  SELECT d.tenant_id, d.sequence AS dispatched, coalesce(s.sequence, 0) AS start, t.cutoff
  FROM turn t
  JOIN dispatch_checkpoint d ON t.is_ours
  LEFT JOIN event_log_start s ON s.tenant_id = d.tenant_id
  CROSS JOIN LATERAL (
    SELECT e.sequence, e.occurred_at FROM event e
    WHERE e.tenant_id = d.tenant_id AND e.sequence > coalesce(s.sequence, 0)
    ORDER BY e.sequence LIMIT 1
  ) oldest
  WHERE oldest.occurred_at < t.cutoff AND oldest.sequence <= d.sequence
  ORDER BY oldest.occurred_at
  LIMIT $2
),
part AS (
  SELECT due.tenant_id, due.start,
         coalesce(min(e.sequence) FILTER (WHERE e.occurred_at >= due.cutoff) - 1, max(e.sequence)) AS "end"
  FROM due
  CROSS JOIN LATERAL (
    SELECT sequence, occurred_at FROM event e
    WHERE e.tenant_id = due.tenant_id AND e.sequence > due.start AND e.sequence <= due.dispatched
    ORDER BY sequence LIMIT $3
  ) e
  GROUP BY due.tenant_id, due.start
),
trimmed AS (
  DELETE FROM event e USING part p
  WHERE e.tenant_id = p.tenant_id AND e.sequence > p.start AND e.sequence <= p."end"
)
INSERT INTO event_log_start AS s (tenant_id, sequence)
SELECT tenant_id, "end" FROM part ORDER BY tenant_id
ON CONFLICT (tenant_id) DO UPDATE SET sequence = greatest(s.sequence, excluded.sequence)
RETURNING tenant_id`;

/** Trims a step of the logs that hold events older than that. Answers whether there may be more to trim. */
export async function trimEvents(database: Database, retentionMs: number): Promise<boolean> {
  const trimmed = await runStatement(database, TRIM, retentionMs, TENANTS_A_STEP, EVENTS_OF_A_TENANT_A_STEP);
  return trimmed.length > 0;
}

/** Keeps the logs trimmed: an event goes at the latest a minute after its time. */
export const startTrimmer = (database: Database, log: Log, retentionMs: number): Poller =>
  startPoller({
    name: 'log trimmer',
    intervalMs: Math.min(LONGEST_INTERVAL_MS, retentionMs),
    hints: null,
    log,
    work: () => trimEvents(database, retentionMs),
  });
