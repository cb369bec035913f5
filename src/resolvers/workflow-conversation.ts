import type { Resolvers } from '../generated/resolvers.js';
import { listAgentProductRuns } from '../services/agent-product-runs.js';
import { listThreadsOfWorkflow } from '../services/threads.js';
import {
  connectToWorkflowConversation,
  createWorkflowConversation,
  deleteWorkflowConversation,
  getWorkflowConversation,
  listWorkflowConversations,
  updateWorkflowConversation,
} from '../services/workflow-conversations.js';
import { hasCursor } from './pages.js';

export const workflowConversation: Resolvers = {
  Query: {
    workflowConversation: (_, { id }, { services, actor }) => getWorkflowConversation(services, actor, id),
    workflowConversations: (_, { userId, running, agentProductId, ...page }, { services, actor }) =>
      listWorkflowConversations(services, actor, { userId, running, agentProductId }, page),
  },
  Mutation: {
    createWorkflowConversation: async (_, { input }, { services, actor }) => ({
      workflowConversation: await createWorkflowConversation(services, actor, input),
    }),
    updateWorkflowConversation: async (_, { id, updates }, { services, actor }) => ({
      workflowConversation: await updateWorkflowConversation(services, actor, id, updates),
    }),
    connectToWorkflowConversation: async (_, { id, connectionData }, { services, actor }) => ({
      workflowConversation: await connectToWorkflowConversation(services, actor, id, connectionData),
    }),
    deleteWorkflowConversation: async (_, { id }, { services, actor }) => ({
      deletedId: await deleteWorkflowConversation(services, actor, id),
    }),
  },
  WorkflowConversation: {
    agentProduct: ({ agentProductId }, _, { loaders }) =>
      agentProductId === null ? null : loaders.product.load(agentProductId),
    agentProductRuns: ({ id }, page, { services, actor, loaders }) =>
      hasCursor(page)
        ? listAgentProductRuns(services, actor, id, page)
        : loaders.runsOfConversation.load(id, page),
    threads: ({ workflowId }, page, { services, actor, loaders }) =>
      hasCursor(page)
        ? listThreadsOfWorkflow(services, actor, workflowId, page)
        : loaders.threadsOfWorkflow.load(workflowId, page),
  },
  Thread: {
    workflowConversation: ({ workflowId }, _, { loaders }) => loaders.conversationOfWorkflow.load(workflowId),
  },
};
