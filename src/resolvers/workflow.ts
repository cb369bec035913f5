import type { Resolvers } from '../generated/resolvers.js';
import { encodeId } from '../ids.js';
import { requireScope } from '../services/actor.js';
import { listSignals, retrySignal } from '../services/deliveries/deliveries.js';
import {
  deleteWorkflowHandler,
  listWorkflowHandlers,
  registerWorkflowHandler,
} from '../services/workflow-handlers.js';
import { nextAttemptAt } from './webhook.js';

export const workflow: Resolvers = {
  Query: {
    workflowHandlers: (_, page, { services, actor }) => listWorkflowHandlers(services, actor, page),
    signals: (_, { filter, ...page }, { services, actor }) => listSignals(services, actor, filter, page),
  },
  Mutation: {
    registerWorkflowHandler: (_, { input }, { services, actor }) =>
      registerWorkflowHandler(services, actor, input),
    deleteWorkflowHandler: async (_, { input }, { services, actor }) => ({
      deletedId: await deleteWorkflowHandler(services, actor, input.id),
    }),
    retrySignal: async (_, { input }, { services, actor }) => ({
      signal: await retrySignal(services, actor, input.id),
    }),
  },
  WorkflowHandler: {
    id: ({ id }) => encodeId('handler', id),
  },
  Signal: {
    id: ({ id }) => encodeId('signal', id),
    workflowId: ({ workflowId }) => workflowId ?? '',
    message: ({ messageId }, _, { actor, loaders }) => {
      requireScope(actor, 'conversations:read');
      return messageId ? loaders.message.load(messageId) : null;
    },
    attempts: ({ id }, _, { loaders }) => loaders.attempts.load(id),
    nextAttemptAt,
  },
};
