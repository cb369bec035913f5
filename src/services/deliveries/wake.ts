import { type Database, runStatement } from '../../database/client.js';
import type { Lane } from './dispatch.js';

/** What waits for something to happen is due when it has; what is claimed is being looked at anyway. */
const WAKE = `
WITH woken AS (
  UPDATE delivery SET due_at = now()
  WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND kind = 'signal' AND status = 'pending'
    AND lease_token IS NULL AND due_at > now()
  RETURNING tenant_id, lane_id, workflow_id
)
SELECT (SELECT coalesce(jsonb_agg(jsonb_build_object(
         'tenantId', tenant_id, 'laneId', lane_id, 'workflowId', workflow_id)), '[]') FROM woken) AS lanes,
       ARRAY(
         SELECT i.id FROM unnest($2::uuid[]) AS i (id)
         WHERE NOT EXISTS (
           SELECT 1 FROM delivery d WHERE d.tenant_id = $1 AND d.id = i.id AND d.status = 'pending'
         )
       ) AS over`;

/**
 * Makes signals due whose jobs have finished.
 * @returns the lanes to ring for, and the signals that need nothing more
 */
export async function wakeSignals(
  database: Database,
  tenantId: string,
  signalIds: readonly string[],
): Promise<{ lanes: readonly Lane[]; over: readonly string[] }> {
  const [result] = await runStatement<{ lanes: Lane[]; over: string[] }>(database, WAKE, tenantId, signalIds);
  return result ?? { lanes: [], over: [] };
}
