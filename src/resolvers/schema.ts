import { makeExecutableSchema } from '@graphql-tools/schema';
import type { GraphQLSchema } from 'graphql';
import { DateTimeResolver, JSONObjectResolver, SafeIntResolver } from 'graphql-scalars';
import { enumResolvers, typeDefs } from '../generated/type-defs.js';
import { access } from './access.js';
import { agentProduct } from './agent-product.js';
import { event } from './event.js';
import { message } from './message.js';
import { node } from './node.js';
import { thread } from './thread.js';
import { webhook } from './webhook.js';
import { workflow } from './workflow.js';
import { workflowConversation } from './workflow-conversation.js';

const scalars = { DateTime: DateTimeResolver, JSONObject: JSONObjectResolver, SafeInt: SafeIntResolver };

/** The executable schema: the SDL of `src/schema` with a resolver file for each of its nouns. */
export const createSchema = (): GraphQLSchema =>
  makeExecutableSchema({
    typeDefs,
    resolvers: [
      scalars,
      enumResolvers,
      node,
      access,
      thread,
      message,
      webhook,
      workflow,
      workflowConversation,
      agentProduct,
      event,
    ],
  });
