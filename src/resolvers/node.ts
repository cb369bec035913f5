import type { Resolvers, ResolversTypes } from '../generated/resolvers.js';
import { type Noun, nounOf } from '../ids.js';
import { getApiKey } from '../services/api-keys.js';
import { getDelivery, getSignal } from '../services/deliveries/deliveries.js';
import { getMessage } from '../services/message-heads.js';
import { getThread } from '../services/threads.js';
import { getWebhook } from '../services/webhooks.js';
import { getWorkflowHandler } from '../services/workflow-handlers.js';
import type { GraphQLContext } from './context.js';

type NodeType =
  | 'Thread'
  | 'Message'
  | 'Webhook'
  | 'WebhookDelivery'
  | 'Signal'
  | 'WorkflowHandler'
  | 'ApiKey';
type Find = (
  services: GraphQLContext['services'],
  actor: GraphQLContext['actor'],
  id: string,
) => Promise<object | null>;

const nodes: Partial<Record<Noun, { type: NodeType; find: Find }>> = {
  thread: { type: 'Thread', find: getThread },
  message: { type: 'Message', find: getMessage },
  webhook: { type: 'Webhook', find: getWebhook },
  delivery: { type: 'WebhookDelivery', find: getDelivery },
  signal: { type: 'Signal', find: getSignal },
  handler: { type: 'WorkflowHandler', find: getWorkflowHandler },
  key: { type: 'ApiKey', find: getApiKey },
};

export const node: Resolvers = {
  Query: {
    node: async (_, { id }, { services, actor }) => {
      const noun = nounOf(id);
      const entry = noun && nodes[noun];
      const found = entry ? await entry.find(services, actor, id) : null;
      return found && ({ ...found, __typename: entry?.type } as unknown as ResolversTypes['Node']);
    },
  },
  Node: {
    __resolveType: (found) => (found as unknown as { __typename: NodeType }).__typename,
  },
};
