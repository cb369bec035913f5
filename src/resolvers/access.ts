import type { Resolvers } from '../generated/resolvers.js';
import { encodeId } from '../ids.js';
import { createApiKey, createTenant, listApiKeys, revokeApiKey } from '../services/api-keys.js';

export const access: Resolvers = {
  Query: {
    viewer: (_, __, { actor }) => ({
      tenantId: actor.tenantId,
      userId: actor.userId,
      scopes: [...actor.scopes],
    }),
    apiKeys: (_, page, { services, actor }) => listApiKeys(services, actor, page),
  },
  Mutation: {
    createTenant: async (_, { input }, { services, actor }) => ({
      tenant: await createTenant(services, actor, input),
    }),
    createApiKey: (_, { input }, { services, actor }) => createApiKey(services, actor, input),
    revokeApiKey: async (_, { input }, { services, actor }) => ({
      apiKey: await revokeApiKey(services, actor, input.id),
    }),
  },
  ApiKey: {
    id: ({ id }) => encodeId('key', id),
  },
};
