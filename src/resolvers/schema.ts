import { makeExecutableSchema } from '@graphql-tools/schema';
import { defaultFieldResolver, type GraphQLScalarType, type GraphQLSchema } from 'graphql';
import { DateTimeResolver, JSONObjectResolver, SafeIntResolver } from 'graphql-scalars';
import { enumResolvers, typeDefs } from '../generated/type-defs.js';
import { access } from './access.js';
import { agentProduct } from './agent-product.js';
import type { GraphQLContext } from './context.js';
import { event } from './event.js';
import { forgetAll } from './loaders.js';
import { message } from './message.js';
import { node } from './node.js';
import { thread } from './thread.js';
import { webhook } from './webhook.js';
import { workflow } from './workflow.js';
import { workflowConversation } from './workflow-conversation.js';

/** What the library's scalars do, without its descriptions of them: those are the SDL's. */
const behaviourOf = ({ serialize, parseValue, parseLiteral }: GraphQLScalarType) => ({
  serialize,
  parseValue,
  parseLiteral,
});

const scalars = {
  DateTime: behaviourOf(DateTimeResolver),
  JSONObject: behaviourOf(JSONObjectResolver),
  SafeInt: behaviourOf(SafeIntResolver),
};

/** The executable schema: the SDL of `src/schema` with a resolver file for each of its nouns. */
export function createSchema(): GraphQLSchema {
  const schema = makeExecutableSchema<GraphQLContext>({
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
  forgetBeforeMutations(schema);
  return schema;
}

/** The mutations of one operation run one after the other, and each shows things as they are after it. */
function forgetBeforeMutations(schema: GraphQLSchema): void {
  for (const field of Object.values(schema.getMutationType()?.getFields() ?? {})) {
    const resolve = field.resolve ?? defaultFieldResolver;
    field.resolve = (parent, input, context: GraphQLContext, info) => {
      forgetAll(context.loaders);
      return resolve(parent, input, context, info);
    };
  }
}
