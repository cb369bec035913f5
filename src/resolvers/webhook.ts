import type { Resolvers } from '../generated/resolvers.js';
import { encodeId } from '../ids.js';
import { requireScope } from '../services/actor.js';
import { getDelivery, listDeliveries } from '../services/deliveries/deliveries.js';
import { retryDelivery } from '../services/deliveries/resend.js';
import {
  pauseWebhook,
  recoverWebhook,
  resumeWebhook,
  rotateWebhookSecret,
  sendTestWebhook,
} from '../services/webhook-actions.js';
import {
  deleteWebhook,
  getWebhook,
  listWebhooks,
  registerWebhook,
  updateWebhook,
} from '../services/webhooks.js';
import { present } from './message.js';
import { hasCursor } from './pages.js';

export const webhook: Resolvers = {
  Query: {
    webhook: (_, { id }, { services, actor }) => getWebhook(services, actor, id),
    webhooks: (_, page, { services, actor }) => listWebhooks(services, actor, page),
    delivery: (_, { id }, { services, actor }) => getDelivery(services, actor, id),
  },
  Mutation: {
    registerWebhook: (_, { input }, { services, actor }) => registerWebhook(services, actor, input),
    updateWebhook: async (_, { input: { id, ...update } }, { services, actor }) => ({
      webhook: await updateWebhook(services, actor, id, update),
    }),
    pauseWebhook: async (_, { input }, { services, actor }) => ({
      webhook: await pauseWebhook(services, actor, input.id),
    }),
    resumeWebhook: async (_, { input }, { services, actor }) => ({
      webhook: await resumeWebhook(services, actor, input.id),
    }),
    rotateWebhookSecret: (_, { input: { id, ...rotation } }, { services, actor }) =>
      rotateWebhookSecret(services, actor, id, rotation),
    sendTestWebhook: async (_, { input }, { services, actor }) => ({
      delivery: await sendTestWebhook(services, actor, input.id),
    }),
    retryDelivery: async (_, { input }, { services, actor }) => ({
      delivery: await retryDelivery(services, actor, input.id),
    }),
    recoverWebhook: async (_, { input: { id, ...recovery } }, { services, actor }) => ({
      recovered: await recoverWebhook(services, actor, id, recovery),
    }),
    deleteWebhook: async (_, { input }, { services, actor }) => ({
      deletedId: await deleteWebhook(services, actor, input.id),
    }),
  },
  Webhook: {
    id: ({ id }) => encodeId('webhook', id),
    deliveries: ({ id }, { status, ...page }, { services, actor, loaders }) =>
      hasCursor(page)
        ? listDeliveries(services, actor, id, status ?? null, page)
        : loaders.deliveriesOfWebhook.load(id, { ...page, status: status ?? null }),
  },
  WebhookDelivery: {
    id: ({ id }) => encodeId('delivery', id),
    webhook: async ({ webhookId }, _, { loaders }) =>
      present(webhookId === null ? null : await loaders.webhook.load(webhookId)),
    event: ({ eventType }) => eventType,
    message: ({ messageId }, _, { actor, loaders }) => {
      requireScope(actor, 'conversations:read');
      return messageId ? loaders.message.load(messageId) : null;
    },
    thread: ({ threadId }, _, { actor, loaders }) => {
      requireScope(actor, 'conversations:read');
      return threadId ? loaders.thread.load(threadId) : null;
    },
    attempts: ({ id }, _, { loaders }) => loaders.attempts.load(id),
    nextAttemptAt: nextAttemptAt,
  },
};

/**
 * While a delivery is claimed its due time is the end of the lease, which is nobody's business. One that is due is
 * tried as soon as its turn comes: now, at the earliest.
 */
export function nextAttemptAt(delivery: { status: string; leaseToken: string | null; dueAt: Date | null }) {
  const { status, leaseToken, dueAt } = delivery;
  if (status !== 'pending' || leaseToken !== null || dueAt === null) return null;
  return new Date(Math.max(dueAt.getTime(), Date.now()));
}
