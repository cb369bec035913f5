import type { Resolvers } from '../generated/resolvers.js';
import type { PageRequest } from '../pagination.js';
import { listAgentProductRuns } from '../services/agent-product-runs.js';
import { listThreads } from '../services/threads.js';
import {
  connectToWorkflowConversation,
  createWorkflowConversation,
  deleteWorkflowConversation,
  getWorkflowConversation,
  listWorkflowConversations,
  updateWorkflowConversation,
} from '../services/workflow-conversations.js';

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
        : loaders.runsOfConversation.load({ parent: id, request: page }),
    threads: ({ workflowId }, page, { services, actor, loaders }) =>
      hasCursor(page)
        ? listThreads(services, actor, { filter: { workflowId } }, page)
        : loaders.threadsOfWorkflow.load({ parent: workflowId, request: page }),
  },
  Thread: {
    workflowConversation: ({ workflowId }, _, { loaders }) => loaders.conversationOfWorkflow.load(workflowId),
  },
};

/** A page behind a cursor belongs to one parent only, so it is not read together with others. */
const hasCursor = ({ after, before }: PageRequest) => after != null || before != null;
