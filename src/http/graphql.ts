import { ApolloServer, type ApolloServerPlugin } from '@apollo/server';
import { fastifyApolloHandler } from '@as-integrations/fastify';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { GraphQLError, type GraphQLSchema } from 'graphql';
import type { GraphQLContext } from '../resolvers/context.js';
import { createLoaders } from '../resolvers/loaders.js';
import type { Actor } from '../services/actor.js';
import type { Context } from '../services/context.js';
import { graphiqlPage } from './graphiql.js';
import { formatError } from './graphql-errors.js';
import { documentRules, MAX_TOKENS } from './graphql-rules.js';
import { actorOf, currentRequestId } from './request.js';

export const GRAPHQL_PATH = '/graphql';

/** Mounts GraphQL over HTTP: POST (and GET for queries); a browser gets GraphiQL. */
export async function mountGraphQL(
  server: FastifyInstance,
  services: Context,
  schema: GraphQLSchema,
): Promise<void> {
  const apollo = new ApolloServer<GraphQLContext>({
    schema,
    introspection: services.config.graphqlIntrospection,
    includeStacktraceInErrorResponses: false,
    allowBatchedHttpRequests: false,
    csrfPrevention: true,
    parseOptions: { maxTokens: MAX_TOKENS },
    validationRules: documentRules(services.config),
    plugins: [refuseSubscriptions],
    formatError: (formatted, error) => formatError(formatted, error, currentRequestId(), services.log),
    logger: services.log as never,
    stopOnTerminationSignals: false,
    nodeEnv: 'production',
  });
  await apollo.start();

  const handler = fastifyApolloHandler(apollo, {
    context: async (request) => createGraphQLContext(services, actorOf(request), request.id),
  });
  server.route({
    method: ['GET', 'POST'],
    url: GRAPHQL_PATH,
    handler(request, reply) {
      if (wantsPage(request)) return graphiqlPage(request, reply);
      return handler.call(server, request, reply);
    },
  });
  server.addHook('onClose', () => apollo.stop());
}

/** GraphQL would run a subscription's resolvers once, without an event. */
const refuseSubscriptions: ApolloServerPlugin<GraphQLContext> = {
  async requestDidStart() {
    return {
      async didResolveOperation({ operation }) {
        if (operation?.operation !== 'subscription') return;
        throw new GraphQLError(
          'Subscriptions are served over WebSocket (graphql-transport-ws) at this path',
          {
            extensions: { code: 'BAD_REQUEST', http: { status: 400 } },
          },
        );
      },
    };
  },
};

/** A browser's address bar, as opposed to a GraphQL client. */
export const wantsPage = (request: FastifyRequest): boolean =>
  request.method === 'GET' &&
  !('query' in (request.query as object)) &&
  /text\/html/.test(request.headers.accept ?? '');

export const createGraphQLContext = (services: Context, actor: Actor, requestId: string): GraphQLContext => ({
  services,
  actor,
  loaders: createLoaders(services, actor),
  requestId,
});
