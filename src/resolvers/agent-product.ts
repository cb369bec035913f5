import type { Resolvers } from '../generated/resolvers.js';
import {
  createAgentProductRun,
  getAgentProductRun,
  updateAgentProductRun,
} from '../services/agent-product-runs.js';
import {
  createAgentProduct,
  deleteAgentProduct,
  getAgentProduct,
  listAgentProducts,
  updateAgentProduct,
} from '../services/agent-products.js';

export const agentProduct: Resolvers = {
  Query: {
    agentProduct: (_, { id }, { services, actor }) => getAgentProduct(services, actor, id),
    agentProducts: (_, page, { services, actor }) => listAgentProducts(services, actor, page),
    agentProductRun: (_, { id }, { services, actor }) => getAgentProductRun(services, actor, id),
  },
  Mutation: {
    createAgentProduct: async (_, { input }, { services, actor }) => ({
      agentProduct: await createAgentProduct(services, actor, input),
    }),
    updateAgentProduct: async (_, { input: { id, ...update } }, { services, actor }) => ({
      agentProduct: await updateAgentProduct(services, actor, id, update),
    }),
    deleteAgentProduct: async (_, { id }, { services, actor }) => ({
      deletedId: await deleteAgentProduct(services, actor, id),
    }),
    createAgentProductRun: async (_, { input }, { services, actor }) => ({
      agentProductRun: await createAgentProductRun(services, actor, input),
    }),
    updateAgentProductRun: async (_, { input: { id, ...update } }, { services, actor }) => ({
      agentProductRun: await updateAgentProductRun(services, actor, id, update),
    }),
  },
  AgentProductRun: {
    workflowConversationId: ({ workflowId }) => workflowId,
    workflowConversation: ({ workflowId }, _, { loaders }) =>
      workflowId === null ? null : loaders.conversation.load(workflowId),
    agentProduct: ({ agentProductId }, _, { loaders }) =>
      agentProductId === null ? null : loaders.product.load(agentProductId),
    inputData: async ({ id, inputData }, _, { loaders }) =>
      inputData === undefined ? (await loaders.runData.load(id)).inputData : inputData,
    outputData: async ({ id, outputData }, _, { loaders }) =>
      outputData === undefined ? (await loaders.runData.load(id)).outputData : outputData,
    durationMs: ({ durationMs }) => (durationMs === null ? null : Number(durationMs)),
  },
};
