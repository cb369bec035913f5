import { ApolloServer, type ApolloServerPlugin, HeaderMap } from '@apollo/server';
import { ApolloServerPluginLandingPageDisabled } from '@apollo/server/plugin/disabled';
import { fastifyApolloHandler } from '@as-integrations/fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { GraphQLError } from 'graphql';
import type { Caller } from '../resolvers/context.js';
import type { Context } from '../services/context.js';
import { graphiqlPage } from './graphiql.js';
import type { GraphQL } from './graphql-engine.js';
import { formatError } from './graphql-errors.js';
import { MAX_TOKENS } from './graphql-limits.js';
import type { Answer, Operations } from './graphql-operations.js';
import { insertTrustedDocument } from './graphql-trusted-requests.js';
import { actorOf, hasCredential } from './request.js';

export const GRAPHQL_PATH = '/graphql';

/** Mounts GraphQL over HTTP: POST (and GET for queries); a browser gets GraphiQL. */
export async function mountGraphQL(
  server: FastifyInstance,
  services: Context,
  { schema, documents, operations, trusted }: GraphQL,
): Promise<void> {
  /** Of the errors that Apollo found by itself. It formats an error without telling whose it is. */
  const requestIds = new WeakMap<object, string>();
  const apollo = new ApolloServer<Caller>({
    schema,
    introspection: services.config.graphqlIntrospection,
    includeStacktraceInErrorResponses: false,
    allowBatchedHttpRequests: false,
    // A browser asks before it sends any of these headers to another site, and nothing is answered without a key.
    csrfPrevention: { requestHeaders: ['authorization', 'x-api-key', 'apollo-require-preflight'] },
    parseOptions: { maxTokens: MAX_TOKENS },
    // `responseForOperation` validates: limits first, and with the rules of the WebSocket.
    dangerouslyDisableValidation: true,
    documentStore: {
      // Keys end in the hash of the text. Apollo would keep documents that were not validated yet.
      get: (key) => documents.recall(key.slice(-64)),
      set: async () => {},
      delete: async () => {},
    },
    // Apollo's own page needs the internet.
    plugins: [answerBy(operations, requestIds), ApolloServerPluginLandingPageDisabled()],
    formatError: (formatted, error) =>
      formatError(formatted, error, requestIds.get(error as object) ?? 'none', services),
    logger: services.log as never,
    stopOnTerminationSignals: false,
    nodeEnv: 'production',
  });
  await apollo.start();

  const handler = fastifyApolloHandler(apollo, {
    context: async (request) => ({ actor: actorOf(request), requestId: request.id }),
  });
  server.route({
    method: ['GET', 'POST'],
    url: GRAPHQL_PATH,
    handler(request, reply) {
      if (wantsPage(request)) return trusted ? refusePage(reply) : graphiqlPage(request, reply);
      const refusal = trusted && insertTrustedDocument(request, trusted);
      if (refusal) return reply.code(400).send({ errors: [refusal] });
      return handler.call(server, request, reply);
    },
  });
  server.addHook('onClose', () => apollo.stop());
}

const refusePage = (reply: FastifyReply) =>
  reply.code(404).type('text/plain').send('This server runs trusted documents only; it has no GraphiQL.\n');

/** Apollo reads the request and writes the answer; what lies between is the same as over the WebSocket. */
const answerBy = (
  operations: Operations,
  requestIds: WeakMap<object, string>,
): ApolloServerPlugin<Caller> => ({
  async requestDidStart() {
    return {
      async didEncounterErrors({ errors, contextValue }) {
        for (const error of errors) requestIds.set(error, contextValue.requestId);
      },
      async didResolveOperation({ operation }) {
        // GraphQL would run a subscription's resolvers once, without an event.
        if (operation?.operation === 'subscription') throw subscriptionRefusal();
      },
      async responseForOperation({ document, request, contextValue }) {
        const answer = await operations.answer({ ...request, document }, contextValue);
        return {
          http: headOf(answer),
          body: { kind: 'single', singleResult: answer },
        };
      },
    };
  },
});

const subscriptionRefusal = () =>
  new GraphQLError('Subscriptions are served over WebSocket (graphql-transport-ws) at this path', {
    extensions: { code: 'BAD_REQUEST', http: { status: 400 } },
  });

/** A request that did not run is a 4xx; one that did is a 200, also with errors in some of its fields. */
function headOf({ data, errors }: Answer): { status?: number; headers: HeaderMap } {
  const headers = new HeaderMap();
  if (data !== undefined) return { headers };
  const { code, retryAfterSeconds } = errors?.[0]?.extensions ?? {};
  if (retryAfterSeconds !== undefined) headers.set('retry-after', String(retryAfterSeconds));
  return { status: statuses[String(code)] ?? 400, headers };
}

const statuses: Readonly<Record<string, number>> = {
  RATE_LIMITED: 429,
  INTERNAL_SERVER_ERROR: 500,
  TIMEOUT: 504,
};

/**
 * A browser's address bar, as opposed to a GraphQL client. GraphiQL writes the query into the address, so the query
 * alone does not tell.
 */
export const wantsPage = (request: FastifyRequest): boolean =>
  request.method === 'GET' &&
  /text\/html/.test(request.headers.accept ?? '') &&
  !(hasCredential(request) && 'query' in (request.query as object));
