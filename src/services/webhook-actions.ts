import { z } from 'zod';
import { runStatement } from '../database/client.js';
import { generateSecret } from '../delivery/signing.js';
import { conflict, notFound } from '../errors.js';
import type { Webhook } from '../generated/prisma/client.js';
import { encodeId, newId } from '../ids.js';
import type { Actor } from './actor.js';
import type { Context } from './context.js';
import { type Delivery, getDelivery } from './deliveries/deliveries.js';
import { FIRST_OF_LANE, recoverDeliveries } from './deliveries/resend.js';
import { instant, parseInput } from './input.js';
import { webhookSecretContext, withPreviousSecret } from './webhook-secrets.js';
import { getWebhook, secret } from './webhooks.js';

/** The event of a test. No webhook can subscribe to it, and the log does not have it. */
export const TEST_EVENT = 'webhook.test';

/**
 * Sends nothing until it is resumed; its events are kept for it.
 * @throws ParleyError `not_found`; `conflict` when it is disabled
 */
export async function pauseWebhook(context: Context, actor: Actor, webhookId: string): Promise<Webhook> {
  const { tenantId, id } = await requireWebhook(context, actor, webhookId);
  const { webhook } = context.database;
  await webhook.updateMany({
    where: { tenantId, id, status: 'enabled' },
    data: { status: 'paused', updatedAt: new Date() },
  });
  const paused = await requireWebhook(context, actor, webhookId);
  if (paused.status === 'disabled') throw disabled();
  return paused;
}

/**
 * What comes from now on is not missed. What was dispatched already is counted with what was missed, which makes no
 * difference and keeps the ranges few. The health first: whoever disables a webhook has it locked already.
 */
const RESUME = `
WITH well AS (
  UPDATE webhook_health SET failures = 0, failing_since = NULL, resting_until = NULL
  WHERE tenant_id = $1 AND webhook_id = $2::uuid
  RETURNING 1
)
UPDATE webhook SET status = 'enabled', disabled_reason = NULL, updated_at = now(),
  missed = (
    SELECT (missed + int8multirange(int8range(NULL, d.sequence, '[]')))
           * int8multirange(int8range(NULL, c.last_sequence, '[]'))
    FROM tenant_counter c, dispatch_checkpoint d
    WHERE c.tenant_id = $1 AND d.tenant_id = $1
  )
WHERE tenant_id = $1 AND id = $2::uuid AND status <> 'enabled' AND (SELECT count(*) FROM well) >= 0`;

/**
 * Sends again what is pending and what comes, also after Parley disabled it. Its failures are forgotten, so it does
 * not rest from them either.
 * @throws ParleyError `not_found`
 */
export async function resumeWebhook(context: Context, actor: Actor, webhookId: string): Promise<Webhook> {
  const { tenantId, id } = await requireWebhook(context, actor, webhookId);
  await runStatement(context.database, RESUME, tenantId, id);
  context.ringLanes([{ tenantId, laneId: id }]);
  return requireWebhook(context, actor, webhookId);
}

const rotationInput = z.object({ secret: secret.nullish() });

/**
 * Signs with a new secret, and for 24 hours with the old one beside it. Rotating to the present secret changes
 * nothing, so a repeated call does no harm.
 * @returns the webhook, and the secret only when it was generated
 * @throws ParleyError `not_found`, `invalid_request`; `conflict` when another rotation came between
 */
export async function rotateWebhookSecret(
  context: Context,
  actor: Actor,
  webhookId: string,
  input: unknown,
): Promise<{ webhook: Webhook; secret: string | null }> {
  const webhook = await getWebhook(context, actor, webhookId);
  const given = parseInput(rotationInput, input);
  if (!webhook) throw notFound('Webhook');
  const { tenantId, id, sealedSecret, previousSecrets } = webhook;
  const place = webhookSecretContext(id);
  if (given.secret && given.secret === context.secrets.open(sealedSecret, place)) {
    return { webhook, secret: null };
  }
  const newSecret = given.secret ?? generateSecret();
  const { count } = await context.database.webhook.updateMany({
    where: { tenantId, id, sealedSecret },
    data: {
      sealedSecret: context.secrets.seal(newSecret, place),
      previousSecrets: withPreviousSecret(previousSecrets, sealedSecret).map((previous) => ({ ...previous })),
      updatedAt: new Date(),
    },
  });
  if (count === 0) throw conflict('The secret was rotated by another request meanwhile');
  return {
    webhook: await requireWebhook(context, actor, webhookId),
    secret: given.secret ? null : newSecret,
  };
}

const ADD_TEST = `
WITH added AS (
  INSERT INTO delivery AS d (tenant_id, id, kind, lane_id, in_order, event_type, occurred_at, webhook_id, due_at)
  SELECT w.tenant_id, $3::uuid, 'webhook', w.id, false, '${TEST_EVENT}', now(), w.id, ${FIRST_OF_LANE('w.id')}
  FROM webhook w
  WHERE w.tenant_id = $1 AND w.id = $2::uuid AND w.status <> 'disabled'
  RETURNING d.tenant_id, d.webhook_id
),
awoken AS (
  UPDATE webhook_health h SET resting_until = now()
  FROM added a
  WHERE h.tenant_id = a.tenant_id AND h.webhook_id = a.webhook_id AND h.resting_until > now()
)
SELECT count(*)::int AS added FROM added`;

/**
 * Sends a test event, whatever the webhook subscribed to: signed, retried and on record like any other delivery,
 * and before what is waiting. A paused webhook gets it when it is resumed.
 * @throws ParleyError `not_found`; `conflict` when it is disabled
 */
export async function sendTestWebhook(context: Context, actor: Actor, webhookId: string): Promise<Delivery> {
  const { tenantId, id } = await requireWebhook(context, actor, webhookId);
  const deliveryId = newId();
  const [test] = await runStatement<{ added: number }>(context.database, ADD_TEST, tenantId, id, deliveryId);
  if (!test?.added) throw disabled();
  context.ringLanes([{ tenantId, laneId: id }]);
  const delivery = await getDelivery(context, actor, encodeId('delivery', deliveryId));
  if (!delivery) throw notFound('Webhook');
  return delivery;
}

const recoveryInput = z.object({ since: instant() });

/**
 * Sends again what has finally failed since then: each delivery once, from the start of its schedule, outside the
 * order, and spread over time, so that a receiver which has just come back is not flooded.
 * @returns how many deliveries are sent again
 * @throws ParleyError `not_found`, `invalid_request`; `conflict` when it is disabled
 */
export async function recoverWebhook(
  context: Context,
  actor: Actor,
  webhookId: string,
  input: unknown,
): Promise<number> {
  const webhook = await getWebhook(context, actor, webhookId);
  const { since } = parseInput(recoveryInput, input);
  if (!webhook) throw notFound('Webhook');
  if (webhook.status === 'disabled') throw disabled();
  return recoverDeliveries(context.database, webhook, since);
}

async function requireWebhook(context: Context, actor: Actor, webhookId: string): Promise<Webhook> {
  const webhook = await getWebhook(context, actor, webhookId);
  if (!webhook) throw notFound('Webhook');
  return webhook;
}

const disabled = () => conflict('The webhook is disabled; resume it first');
