import { type Database, runStatement } from '../../database/client.js';
import type { Lane } from './dispatch.js';

/** A lane that has been due for this long rings for itself: its doorbell was lost. */
const SILENT_MS = 1_000;
const LANES_A_SWEEP = 1_000;
/** How long a signal waits for its workflow to get a handler. */
export const SIGNAL_EXPIRES_AFTER_MS = 7 * 24 * 60 * 60 * 1_000;

/** Of one tenant: those of a flood, of which a worker takes a share at a time, leave room for the others'. */
const LANES_OF_A_TENANT_A_SWEEP = 200;

/**
 * The lanes that are due and silent, without those of webhooks that are not sent to now; the longest due of each
 * tenant. It skips through the index from lane to lane, so it costs by the number of lanes that have something
 * pending, not by the length of their backlogs.
 */
const FIND_SILENT_LANES = `
WITH RECURSIVE lane AS (
  (SELECT tenant_id, lane_id, due_at, kind, workflow_id FROM delivery
   WHERE status = 'pending' AND due_at IS NOT NULL
   ORDER BY lane_id, due_at LIMIT 1)
  UNION ALL
  SELECT n.tenant_id, n.lane_id, n.due_at, n.kind, n.workflow_id
  FROM lane l
  CROSS JOIN LATERAL (
    SELECT tenant_id, lane_id, due_at, kind, workflow_id FROM delivery
    WHERE status = 'pending' AND due_at IS NOT NULL AND lane_id > l.lane_id
    ORDER BY lane_id, due_at LIMIT 1
  ) n
),
silent AS (
  SELECT l.*, row_number() OVER (PARTITION BY l.tenant_id ORDER BY l.due_at) AS place
  FROM lane l
  WHERE l.due_at < now() - $1 * interval '1 millisecond'
    AND (
      coalesce((
        SELECT h.due_at < now() FROM delivery h
        WHERE h.lane_id = l.lane_id AND h.status = 'pending' AND h.in_order
        ORDER BY h.event_sequence LIMIT 1
      ), false)
      OR EXISTS (
        SELECT 1 FROM delivery d
        WHERE d.lane_id = l.lane_id AND d.status = 'pending' AND d.due_at < now() AND NOT d.in_order
      )
    )
    AND NOT EXISTS (
      SELECT 1 FROM webhook w
      LEFT JOIN webhook_health h ON h.tenant_id = w.tenant_id AND h.webhook_id = w.id
      WHERE w.tenant_id = l.tenant_id AND w.id = l.lane_id AND (w.status <> 'enabled' OR h.resting_until > now())
    )
)
SELECT tenant_id AS "tenantId", lane_id AS "laneId", CASE WHEN kind = 'signal' THEN workflow_id END AS "workflowId"
FROM silent
WHERE place <= $3
ORDER BY place
LIMIT $2`;

export function findSilentLanes(database: Database): Promise<Lane[]> {
  return runStatement<Lane>(database, FIND_SILENT_LANES, SILENT_MS, LANES_A_SWEEP, LANES_OF_A_TENANT_A_SWEEP);
}

/**
 * Signals that were being parked while their handler was registered. They are looked for from the handlers,
 * of which there are few, not from the parked signals, of which there may be many.
 */
const RELEASE_PARKED = `
WITH handled AS (
  SELECT p.tenant_id, p.id
  FROM workflow_handler h
  JOIN delivery p ON p.tenant_id = h.tenant_id AND p.workflow_id = h.workflow_id
  WHERE p.status = 'pending' AND p.due_at IS NULL
  UNION
  SELECT p.tenant_id, p.id
  FROM workflow_handler h
  JOIN delivery p ON p.tenant_id = h.tenant_id
  WHERE h.workflow_id = '*' AND p.status = 'pending' AND p.due_at IS NULL
)
UPDATE delivery d SET due_at = now()
FROM handled
WHERE d.tenant_id = handled.tenant_id AND d.id = handled.id AND d.status = 'pending' AND d.due_at IS NULL`;

/** Lets parked signals go whose workflow has a handler by now. */
export async function releaseParkedSignals(database: Database): Promise<void> {
  await runStatement(database, RELEASE_PARKED);
}

const EXPIRE_PARKED = `
UPDATE delivery SET due_at = now()
WHERE (tenant_id, id) IN (
  SELECT tenant_id, id FROM delivery
  WHERE status = 'pending' AND due_at IS NULL AND occurred_at < now() - $1 * interval '1 millisecond'
  LIMIT $2
  FOR UPDATE SKIP LOCKED
)`;

/** Wakes parked signals that have waited too long for their workflow to get a handler; the next attempt fails them. */
export async function wakeExpiredSignals(database: Database): Promise<void> {
  await runStatement(database, EXPIRE_PARKED, SIGNAL_EXPIRES_AFTER_MS, LANES_A_SWEEP);
}
