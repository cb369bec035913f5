import { type Database, runStatement } from '../../database/client.js';
import { STILL_FAILING } from './health.js';
import type { Outcome } from './settle.js';

/** A webhook that Parley stopped sending to, and why, as `disabledReason` says it. */
export interface DisabledWebhook {
  readonly tenantId: string;
  /** As it is stored. */
  readonly webhookId: string;
  readonly reason: 'gone' | 'failing';
}

/**
 * Disables the webhook `$2` of the tenant `$1`. Nothing is appended to the tenant's log until that is committed: so
 * what came while the webhook was enabled is not among what it missed, though it may not have been dispatched yet.
 */
const disable = (reason: DisabledWebhook['reason'], condition: string): string => `
WITH log AS (
  SELECT last_sequence FROM tenant_counter WHERE tenant_id = $1 FOR NO KEY UPDATE
)
UPDATE webhook w
SET status = 'disabled', disabled_reason = '${reason}', updated_at = now(),
    missed = w.missed + int8multirange(int8range(log.last_sequence, NULL, '()'))
FROM log
WHERE w.tenant_id = $1 AND w.id = $2::uuid AND w.status <> 'disabled' AND ${condition}
RETURNING w.tenant_id AS "tenantId", w.id AS "webhookId", w.disabled_reason AS reason`;

/**
 * Because of a 410 that was recorded just before. What the old URL answers to a request that was under way when a new
 * one was given does not count.
 */
const DISABLE_GONE = disable(
  'gone',
  `w.url = $3 AND EXISTS (
    SELECT 1 FROM delivery d WHERE d.tenant_id = w.tenant_id AND d.id = $4::uuid AND d.lease_token = $5::uuid)`,
);

/** If its failures were not forgotten meanwhile. */
const DISABLE_FAILING = disable(
  'failing',
  `EXISTS (
    SELECT 1 FROM webhook_health h WHERE h.tenant_id = w.tenant_id AND h.webhook_id = w.id AND ${STILL_FAILING})`,
);

/** What disables the webhooks that answered 410, in the transaction that records it: statements with their values. */
export const disablingGone = (outcomes: readonly Outcome[]) =>
  outcomes
    .filter(({ statusCode }) => statusCode === 410)
    .flatMap(({ tenantId, webhook, deliveryId, leaseToken }) =>
      webhook ? [[DISABLE_GONE, tenantId, webhook.id, webhook.url, deliveryId, leaseToken] as const] : [],
    );

/** Disables those that have failed for too long. Answers with those that it disabled. */
export async function disableFailing(
  database: Database,
  failing: readonly Pick<DisabledWebhook, 'tenantId' | 'webhookId'>[],
): Promise<DisabledWebhook[]> {
  const disabled: DisabledWebhook[] = [];
  for (const { tenantId, webhookId } of failing) {
    disabled.push(...(await runStatement<DisabledWebhook>(database, DISABLE_FAILING, tenantId, webhookId)));
  }
  return disabled;
}
