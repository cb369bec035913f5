import type {
  AgentProduct,
  Delivery,
  DeliveryAttempt,
  MessageLog,
  Thread,
  Webhook,
  WorkflowConversation,
} from '../generated/prisma/client.js';
import type { Actor } from './actor.js';
import type { Context } from './context.js';

/**
 * Many rows of the caller's tenant in one statement each, for answers that join nouns. Each answers in the order
 * of the ids. Scopes are checked where the ids come from, or by the resolver of the field.
 */
export async function threadsByIds(context: Context, actor: Actor, ids: readonly string[]) {
  const rows = await context.database.thread.findMany({
    where: { tenantId: actor.tenantId, id: { in: [...ids] } },
  });
  return inOrder<Thread>(ids, rows);
}

export async function webhooksByIds(context: Context, actor: Actor, ids: readonly string[]) {
  const rows = await context.database.webhook.findMany({
    where: { tenantId: actor.tenantId, id: { in: [...ids] } },
  });
  return inOrder<Webhook>(ids, rows);
}

export async function conversationsByIds(context: Context, actor: Actor, ids: readonly number[]) {
  const rows = await context.database.workflowConversation.findMany({
    where: { tenantId: actor.tenantId, id: { in: [...ids] } },
  });
  return inOrder<WorkflowConversation>(ids, rows);
}

export async function productsByIds(context: Context, actor: Actor, ids: readonly number[]) {
  const rows = await context.database.agentProduct.findMany({
    where: { tenantId: actor.tenantId, id: { in: [...ids] } },
  });
  return inOrder<AgentProduct>(ids, rows);
}

/** The conversation that each workflow belongs to. */
export async function conversationsOfWorkflows(
  context: Context,
  actor: Actor,
  workflowIds: readonly string[],
) {
  const rows = await context.database.workflowConversation.findMany({
    where: { tenantId: actor.tenantId, workflowId: { in: [...workflowIds] } },
  });
  const byWorkflow = new Map(rows.map((row) => [row.workflowId, row]));
  return workflowIds.map((workflowId) => byWorkflow.get(workflowId) ?? null);
}

/** The log of each message, oldest entry first. */
export async function logsOfMessages(context: Context, actor: Actor, messageIds: readonly string[]) {
  const rows = await context.database.messageLog.findMany({
    where: { tenantId: actor.tenantId, messageId: { in: [...messageIds] } },
    orderBy: { id: 'asc' },
  });
  return grouped<MessageLog>(messageIds, rows, (row) => row.messageId);
}

/** Everything that each message is or was sent on as: its signal, its webhook deliveries; oldest first. */
export async function deliveriesOfMessages(context: Context, actor: Actor, messageIds: readonly string[]) {
  const rows = await context.database.delivery.findMany({
    where: { tenantId: actor.tenantId, messageId: { in: [...messageIds] } },
    orderBy: [{ eventSequence: 'asc' }, { id: 'asc' }],
  });
  return grouped<Delivery>(messageIds, rows, (row) => row.messageId);
}

/** The attempts of each delivery, oldest first. */
export async function attemptsOfDeliveries(context: Context, actor: Actor, deliveryIds: readonly string[]) {
  const rows = await context.database.deliveryAttempt.findMany({
    where: { tenantId: actor.tenantId, deliveryId: { in: [...deliveryIds] } },
    orderBy: { number: 'asc' },
  });
  return grouped<DeliveryAttempt>(deliveryIds, rows, (row) => row.deliveryId);
}

function inOrder<Row extends { id: string | number }>(
  ids: readonly Row['id'][],
  rows: readonly Row[],
): (Row | null)[] {
  const byId = new Map<Row['id'], Row>(rows.map((row) => [row.id, row]));
  return ids.map((id) => byId.get(id) ?? null);
}

function grouped<Row>(
  ids: readonly string[],
  rows: readonly Row[],
  idOf: (row: Row) => string | null,
): Row[][] {
  const groups = new Map<string | null, Row[]>();
  for (const row of rows) {
    const group = groups.get(idOf(row));
    if (group) group.push(row);
    else groups.set(idOf(row), [row]);
  }
  return ids.map((id) => groups.get(id) ?? []);
}
