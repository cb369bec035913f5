import { z } from 'zod';
import { runStatement } from '../database/client.js';
import { generateSecret, secretIssue } from '../delivery/signing.js';
import { notFound } from '../errors.js';
import { eventTypes } from '../events/append.js';
import type { Webhook } from '../generated/prisma/client.js';
import { decodeId, newId } from '../ids.js';
import type { PageRequest } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { FAIL_MESSAGES } from './deliveries/failed-messages.js';
import { type Check, jsonObject, listOfSome, parseInput, tenantFault, text } from './input.js';
import { newestFirst, readPage } from './pages.js';
import { webhookSecretContext } from './webhook-secrets.js';

export type { Webhook } from '../generated/prisma/client.js';

/** What a webhook can subscribe to: everything that happens to outbound messages and to threads. */
export const webhookEvents = eventTypes.filter((type) => /^(message|thread)\./.test(type));

const MAX_WEBHOOKS_LISTED = 1_000;

/** Headers that Parley sets itself, or that would change what the request is. */
const reservedHeader =
  /^(webhook-.*|content-(length|type|encoding)|host|connection|transfer-encoding|te|trailer|upgrade|keep-alive|expect|accept-encoding|user-agent|proxy-.*)$/i;

const headers = jsonObject(4_096).superRefine((given, context) => {
  for (const [name, value] of Object.entries(given)) {
    const issue = headerIssue(name, value);
    if (issue) context.addIssue({ code: 'custom', path: [name], message: issue });
  }
});

function headerIssue(name: string, value: unknown): string | null {
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/.test(name)) return 'is not a header name';
  if (reservedHeader.test(name)) return 'is a header that Parley sets itself';
  if (typeof value !== 'string' || !/^[\t\x20-\x7e]{0,1024}$/.test(value))
    return 'must be a line of printable ASCII';
  return null;
}

/** A secret for signing, as design section 7 has it. */
export const secret = text(0, 255)
  .superRefine((value, context) => {
    const issue = secretIssue(value);
    if (issue) context.addIssue({ code: 'custom', message: issue });
  })
  .meta({
    description:
      'Signs what is sent. After `whsec_` it is base64, any other is its UTF-8 bytes. Generated when it is left out.',
    minLength: 16,
  });

export const targetUrl = text(1, 2_048).meta({
  description: 'Where to post to: http or https, without credentials, at an address that Parley may call.',
  format: 'uri',
});

/** Whether Parley may post to the URL of an input. What its name resolves to is checked again at every dial. */
export const targetFault =
  ({ targets }: Context): Check =>
  ({ url }) => {
    const issue = targetUrl.safeParse(url).success ? targets.urlIssue(url as string) : null;
    return issue ? [{ field: 'url', issue }] : [];
  };

export const webhookInput = z
  .object({
    url: targetUrl,
    events: listOfSome(webhookEvents, 'must name at least one event').meta({
      description: 'What it is sent. `message.` events are those of outbound messages.',
    }),
    secret: secret.nullish(),
    description: text(0, 1_024).meta({ description: 'What it is for, in your own words.' }).nullish(),
    ordered: z
      .boolean()
      .meta({ description: 'Send one after the other, in the order of the log.' })
      .nullish(),
    ratePerSecond: z
      .int()
      .min(1, 'must be at least 1')
      .max(10_000, 'must be at most 10000')
      .meta({ description: 'The most requests that it is to get in a second.' })
      .nullish(),
    headers: headers
      .meta({
        description: 'Further headers of every request, by name.',
        additionalProperties: { type: 'string' },
      })
      .nullish(),
  })
  .meta({ id: 'WebhookInput', description: 'A URL and the events that it is to get.' });

const REGISTER_WEBHOOK = `
WITH registered AS (
  INSERT INTO webhook (tenant_id, id, url, events, description, ordered, rate_per_second, headers, sealed_secret,
                       after_sequence)
  SELECT $1, $2::uuid, $3, $4::text[], $5, $6, $7::int, $8::jsonb, $9,
         (SELECT last_sequence FROM tenant_counter WHERE tenant_id = $1)
  RETURNING tenant_id, id
)
INSERT INTO webhook_health (tenant_id, webhook_id) SELECT tenant_id, id FROM registered`;

/**
 * Registers a webhook. It gets the events that come after this; nothing older.
 * @returns the webhook, and the secret only when it was generated
 */
export async function registerWebhook(
  context: Context,
  actor: Actor,
  input: unknown,
): Promise<{ webhook: Webhook; secret: string | null }> {
  requireScope(actor, 'webhooks:manage');
  const given = parseInput(webhookInput, input, tenantFault(actor), targetFault(context));
  const { tenantId } = actor;
  const id = newId();
  const signingSecret = given.secret ?? generateSecret();
  await runStatement(
    context.database,
    REGISTER_WEBHOOK,
    tenantId,
    id,
    given.url,
    given.events,
    given.description ?? null,
    given.ordered ?? false,
    given.ratePerSecond ?? null,
    JSON.stringify(given.headers ?? {}),
    context.secrets.seal(signingSecret, webhookSecretContext(id)),
  );
  const webhook = await context.database.webhook.findUniqueOrThrow({
    where: { tenantId_id: { tenantId, id } },
  });
  return { webhook, secret: given.secret ? null : signingSecret };
}

/** The webhook, or null when it is absent or another tenant's. */
export async function getWebhook(context: Context, actor: Actor, webhookId: string): Promise<Webhook | null> {
  requireScope(actor, 'webhooks:manage');
  const id = decodeId('webhook', webhookId);
  if (!id) return null;
  return context.database.webhook.findUnique({ where: { tenantId_id: { tenantId: actor.tenantId, id } } });
}

export async function listWebhooks(context: Context, actor: Actor, page: PageRequest) {
  requireScope(actor, 'webhooks:manage');
  const list = { name: `${actor.tenantId}/webhooks`, order: newestFirst };
  return readPage(list, page, ({ where, ...query }) =>
    context.database.webhook.findMany({ where: { tenantId: actor.tenantId, ...where }, ...query }),
  );
}

/** All webhooks of the tenant, newest first, for the REST route, which has no pages. */
export async function listAllWebhooks(context: Context, actor: Actor): Promise<Webhook[]> {
  requireScope(actor, 'webhooks:manage');
  const { tenantId } = actor;
  return context.database.webhook.findMany({
    where: { tenantId },
    orderBy: { id: 'desc' },
    take: MAX_WEBHOOKS_LISTED,
  });
}

const webhookUpdate = webhookInput.omit({ secret: true }).partial();

/**
 * Changes what is given; what is left out stays. Null takes the description or the rate limit away.
 * @throws ParleyError `not_found`, `invalid_request`
 */
export async function updateWebhook(
  context: Context,
  actor: Actor,
  webhookId: string,
  input: unknown,
): Promise<Webhook> {
  const webhook = await getWebhook(context, actor, webhookId);
  const given = parseInput(webhookUpdate, input, targetFault(context));
  if (!webhook) throw notFound('Webhook');
  const clearable = new Set(['description', 'ratePerSecond']);
  const changes = Object.fromEntries(
    Object.entries(given).filter(
      ([name, value]) => value !== undefined && (value !== null || clearable.has(name)),
    ),
  );
  const { tenantId, id } = webhook;
  if (given.url != null && given.url !== webhook.url) await forgetFailures(context, webhook);
  return context.database.webhook.update({
    where: { tenantId_id: { tenantId, id } },
    data: { ...changes, updatedAt: new Date() },
  });
}

/** What failed at the old URL says nothing of the new one. */
async function forgetFailures({ database }: Context, { tenantId, id }: Webhook): Promise<void> {
  await database.webhookHealth.updateMany({
    where: { tenantId, webhookId: id },
    data: { failures: 0, failingSince: null, restingUntil: null },
  });
}

const DELETIONS_A_STEP = 1_000;

const DISABLE_TO_DELETE = `
UPDATE webhook SET status = 'disabled', disabled_reason = 'deleted', missed = '{(,)}'
WHERE tenant_id = $1 AND id = $2::uuid`;

/**
 * Deletes a webhook with its deliveries. It is disabled first, so nothing more is sent; the deliveries go in
 * steps, so that no statement holds locks for long. Messages that waited for it alone have failed, if others did.
 * @throws ParleyError `not_found`
 */
export async function deleteWebhook(context: Context, actor: Actor, webhookId: string): Promise<string> {
  const webhook = await getWebhook(context, actor, webhookId);
  if (!webhook) throw notFound('Webhook');
  const { tenantId, id } = webhook;
  await runStatement(context.database, DISABLE_TO_DELETE, tenantId, id);
  while ((await deleteDeliveries(context, webhook)) === DELETIONS_A_STEP);
  await context.database.webhook.deleteMany({ where: { tenantId, id } });
  return webhookId;
}

/** The messages are locked before the deliveries, as everywhere. */
const DELETE_DELIVERIES = `
WITH doomed AS (
  SELECT id, message_id, status FROM delivery WHERE tenant_id = $1 AND lane_id = $2::uuid ORDER BY id LIMIT $3
),
locked_message AS (
  SELECT m.id FROM conversation_message m
  WHERE m.tenant_id = $1 AND m.id IN (SELECT message_id FROM doomed WHERE status = 'pending')
  ORDER BY m.id
  FOR NO KEY UPDATE
),
locked AS (
  SELECT d.id FROM delivery d
  WHERE d.tenant_id = $1 AND d.id IN (SELECT id FROM doomed) AND (SELECT count(*) FROM locked_message) >= 0
  ORDER BY d.id
  FOR UPDATE
),
gone AS (
  DELETE FROM delivery WHERE tenant_id = $1 AND id IN (SELECT id FROM locked) RETURNING message_id, event_type, status
)
SELECT count(*)::int AS deleted,
       coalesce(array_agg(DISTINCT message_id::text) FILTER (
         WHERE status = 'pending' AND event_type = 'message.created' AND message_id IS NOT NULL
       ), '{}') AS "messageIds"
FROM gone`;

/** Deletes a step of a webhook's deliveries. Answers with how many. */
async function deleteDeliveries({ database, hints }: Context, { tenantId, id }: Webhook): Promise<number> {
  const details = JSON.stringify({ error: 'webhook_deleted' });
  const deleted = await database.$transaction(async (transaction) => {
    const [step] = await runStatement<{ deleted: number; messageIds: string[] }>(
      transaction,
      DELETE_DELIVERIES,
      tenantId,
      id,
      DELETIONS_A_STEP,
    );
    if (step && step.messageIds.length > 0) {
      await runStatement(transaction, FAIL_MESSAGES, tenantId, step.messageIds, details);
    }
    return step?.deleted ?? 0;
  });
  hints.ring();
  return deleted;
}
