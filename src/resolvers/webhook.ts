import type { Resolvers } from '../generated/resolvers.js';
import { encodeId } from '../ids.js';
import { requireScope } from '../services/actor.js';
import { getDelivery, listDeliveries } from '../services/deliveries/deliveries.js';
import {
  deleteWebhook,
  getWebhook,
  listWebhooks,
  registerWebhook,
  updateWebhook,
} from '../services/webhooks.js';
import { present } from './message.js';

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
    deleteWebhook: async (_, { input }, { services, actor }) => ({
      deletedId: await deleteWebhook(services, actor, input.id),
    }),
  },
  Webhook: {
    id: ({ id }) => encodeId('webhook', id),
    deliveries: ({ id }, { status, ...page }, { services, actor }) =>
      listDeliveries(services, actor, id, status ?? null, page),
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

/** While a delivery is claimed its due time is the end of the lease, which is nobody's business. */
export function nextAttemptAt(delivery: { status: string; leaseToken: string | null; dueAt: Date | null }) {
  return delivery.status === 'pending' && delivery.leaseToken === null ? delivery.dueAt : null;
}
