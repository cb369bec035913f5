import { z } from 'zod';
import { runStatement } from '../../database/client.js';
import { conflict, notFound } from '../../errors.js';
import type { Delivery, Prisma } from '../../generated/prisma/client.js';
import { decodeId } from '../../ids.js';
import type { List, PageRequest } from '../../pagination.js';
import { type Actor, requireScope } from '../actor.js';
import type { Context } from '../context.js';
import { parseInput, text } from '../input.js';
import { readNestedPages } from '../nested-pages.js';
import { newestFirst, readPage } from '../pages.js';

export type { Delivery, DeliveryAttempt } from '../../generated/prisma/client.js';

/** A webhook delivery, or null when it is absent or another tenant's. */
export function getDelivery(context: Context, actor: Actor, deliveryId: string): Promise<Delivery | null> {
  requireScope(actor, 'webhooks:manage');
  return find(context, actor, 'webhook', decodeId('delivery', deliveryId));
}

/** A signal, or null when it is absent or another tenant's. */
export function getSignal(context: Context, actor: Actor, signalId: string): Promise<Delivery | null> {
  requireScope(actor, 'workflows:manage');
  return find(context, actor, 'signal', decodeId('signal', signalId));
}

async function find(context: Context, actor: Actor, kind: Delivery['kind'], id: string | null) {
  return id ? context.database.delivery.findFirst({ where: { tenantId: actor.tenantId, id, kind } }) : null;
}

/** What was and will be sent to a webhook, newest first. */
export async function listDeliveries(
  context: Context,
  actor: Actor,
  webhookId: string,
  status: Delivery['status'] | null,
  page: PageRequest,
) {
  requireScope(actor, 'webhooks:manage');
  return readDeliveries(context, actor, listOfWebhook(actor, webhookId), page, {
    laneId: webhookId,
    ...(status && { status }),
  });
}

const listOfWebhook = (actor: Actor, webhookId: string): List => ({
  name: `${actor.tenantId}/deliveries/webhooks/${webhookId}`,
  order: newestFirst,
});

/** What was and will be sent to many webhooks: for each the first (or last) page, in one statement. */
export async function firstDeliveriesOfWebhooks(
  context: Context,
  actor: Actor,
  webhookIds: readonly string[],
  { status = null, ...request }: PageRequest & { readonly status?: Delivery['status'] | null | undefined },
) {
  requireScope(actor, 'webhooks:manage');
  return readNestedPages<Delivery>(
    context.database,
    actor.tenantId,
    {
      table: 'delivery',
      parent: { column: 'lane_id', type: 'uuid' },
      orderBy: [{ column: 'id', direction: 'DESC' }],
      filter: { column: 'status', type: 'delivery_status', value: status },
    },
    webhookIds.map((key) => ({ key, list: listOfWebhook(actor, key) })),
    request,
  );
}

const signalFilter = z.object({
  status: z.enum(['pending', 'delivered', 'failed', 'cancelled']).nullish(),
  workflowId: text(0, 128).nullish(),
  threadId: z.string().nullish(),
});

/** The tenant's signals, newest first. */
export async function listSignals(context: Context, actor: Actor, input: unknown, page: PageRequest) {
  requireScope(actor, 'workflows:manage');
  const filter = parseInput(signalFilter, input);
  const laneId = filter.threadId == null ? undefined : (decodeId('thread', filter.threadId) ?? NO_THREAD);
  const list = { name: `${actor.tenantId}/deliveries/signals`, order: newestFirst };
  return readDeliveries(context, actor, list, page, {
    kind: 'signal',
    ...(filter.status && { status: filter.status }),
    ...(filter.workflowId != null && { workflowId: filter.workflowId }),
    ...(laneId && { laneId }),
  });
}

/** No thread has the nil UUID, so filtering by a malformed id finds nothing. */
const NO_THREAD = '00000000-0000-0000-0000-000000000000';

function readDeliveries(
  context: Context,
  actor: Actor,
  list: List,
  page: PageRequest,
  filter: Prisma.DeliveryWhereInput,
) {
  return readPage(list, page, ({ where, ...query }) =>
    context.database.delivery.findMany({
      where: { tenantId: actor.tenantId, ...filter, ...where },
      ...query,
    }),
  );
}

const RETRY = `
UPDATE delivery SET status = 'pending', in_order = false, due_at = now(), lease_token = NULL,
                    schedule_start = attempt_count
WHERE tenant_id = $1 AND id = $2::uuid AND kind = 'signal' AND status = 'failed' AND message_id IS NOT NULL
RETURNING id`;

/**
 * Sends a failed signal again, from the start of its schedule, outside the order of its thread.
 * @throws ParleyError `not_found`; `conflict` unless it has failed
 */
export async function retrySignal(context: Context, actor: Actor, signalId: string): Promise<Delivery> {
  const signal = await getSignal(context, actor, signalId);
  if (!signal) throw notFound('Signal');
  const [retried] = await runStatement(context.database, RETRY, actor.tenantId, signal.id);
  if (!retried) throw conflict(`Only a failed signal can be sent again; this one is ${signal.status}`);
  const { tenantId, laneId, workflowId } = signal;
  context.ringLanes([{ tenantId, laneId, workflowId }]);
  return (await find(context, actor, 'signal', signal.id)) ?? signal;
}
