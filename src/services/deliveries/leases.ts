import { type Database, runStatement } from '../../database/client.js';
import { rowsOfLists } from '../../database/lists.js';
import type { ClaimedDelivery } from './claim.js';

/** How long a claim holds without a heartbeat: after this, the work of a killed worker is anyone's again. */
export const LEASE_MS = 8_000;
export const HEARTBEAT_MS = 2_500;

/** What somebody else has locked at this moment is being settled. */
const EXTEND = `
WITH held AS (
  SELECT d.tenant_id, d.id FROM delivery d
  JOIN ${rowsOfLists('text, uuid, uuid')} AS i (tenant_id, id, token)
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
