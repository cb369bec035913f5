import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import {
  createSourceEventStream,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  GraphQLError,
  type GraphQLFormattedError,
  type GraphQLSchema,
  getOperationAST,
  parse,
  validate,
} from 'graphql';
import { handleProtocols } from 'graphql-ws';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';
import { ParleyError } from '../errors.js';
import type { Actor } from '../services/actor.js';
import { type Authentication, bearerToken } from '../services/authentication.js';
import type { Context } from '../services/context.js';
import { createGraphQLContext, GRAPHQL_PATH } from './graphql.js';
import { formatError, toGraphQLError } from './graphql-errors.js';
import { allRules, MAX_TOKENS } from './graphql-rules.js';

const KEEP_ALIVE_MS = 12_000;

/** What is known of a connection: the credential it came with, which is checked again for every operation. */
type Connection = {
  credential?: string | undefined;
};

export interface WebSocketMount {
  /** Ends every connection with 1001 (going away). */
  close(): Promise<void>;
}

/**
 * Mounts GraphQL over WebSocket by the graphql-transport-ws protocol. It does not pass through Apollo, so every
 * rule of the HTTP side is applied here again, from the same functions.
 */
export function mountWebSocket(
  server: Server,
  services: Context,
  authentication: Authentication,
  schema: GraphQLSchema,
): WebSocketMount {
  const sockets = new WebSocketServer({
    noServer: true,
    handleProtocols,
    maxPayload: services.config.maxBodyBytes,
  });
  const rules = allRules(services.config);

  const format = (error: GraphQLError, requestId: string): GraphQLFormattedError =>
    formatError({ ...error.toJSON(), extensions: error.extensions }, error, requestId, services.log);

  const disposable = useServer<Record<string, unknown>, Connection>(
    {
      async onConnect({ connectionParams, extra }) {
        extra.credential = credentialOf(connectionParams);
        return !((await authentication.authenticate(extra.credential).catch(refusal)) instanceof ParleyError);
      },
      async onSubscribe({ extra }, _id, { query, operationName, variables }) {
        const actor = await authentication.authenticate(extra.credential).catch(refusal);
        if (actor instanceof ParleyError) return [toGraphQLError(actor)];
        const document = parseDocument(query);
        if (document instanceof GraphQLError) return [withCode(document, 'GRAPHQL_PARSE_FAILED')];
        const faults = validate(schema, document, rules);
        if (faults.length > 0) return faults.map((fault) => withCode(fault, 'GRAPHQL_VALIDATION_FAILED'));
        if (!getOperationAST(document, operationName)) {
          return [
            withCode(new GraphQLError('The operation to run is not named'), 'OPERATION_RESOLUTION_FAILURE'),
          ];
        }
        return {
          schema,
          document,
          operationName: operationName ?? null,
          variableValues: variables ?? null,
          contextValue: createGraphQLContext(services, actor, randomUUID()),
          authenticate: () => authentication.authenticate(extra.credential),
        };
      },
      execute: (args) => execute(args as ExecutionArgs),
      subscribe: (args) => subscribe(args as SubscriptionArgs),
      onError: (_context, _id, _payload, errors) => errors.map((error) => format(error, 'none')),
      onNext(_context, _id, _payload, args, result) {
        const { requestId } = args.contextValue as { requestId: string };
        if (!result.errors) return;
        return { ...result, errors: result.errors.map((error) => format(coded(error), requestId)) } as never;
      },
    },
    sockets,
    KEEP_ALIVE_MS,
  );

  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const path = request.url?.split('?')[0];
    if (path !== GRAPHQL_PATH) {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit('connection', ws, request));
  };
  server.on('upgrade', upgrade);

  return {
    async close() {
      server.off('upgrade', upgrade);
      await disposable.dispose();
    },
  };
}

/** `{ authorization: "Bearer …" }` of the connection parameters, whatever its capitals. */
function credentialOf(parameters: Record<string, unknown> | undefined): string | undefined {
  const entry = Object.entries(parameters ?? {}).find(([name]) => name.toLowerCase() === 'authorization');
  return bearerToken(entry?.[1]);
}

/** A refused credential as a value; anything else that goes wrong stays thrown. */
function refusal(error: unknown): ParleyError {
  if (error instanceof ParleyError) return error;
  throw error;
}

function parseDocument(query: string) {
  try {
    return parse(query, { maxTokens: MAX_TOKENS });
  } catch (error) {
    return error instanceof GraphQLError ? error : new GraphQLError('The document cannot be parsed');
  }
}

/** A copy of the error with a code, as Apollo gives it on the HTTP side. */
function withCode(error: GraphQLError, code: string): GraphQLError {
  const { message, nodes, source, positions, path, originalError, extensions } = error;
  return new GraphQLError(message, {
    nodes,
    source,
    positions,
    path,
    originalError,
    extensions: { code, ...extensions },
  });
}

/** Faults of variables come out of execution without a path; on the HTTP side Apollo tells them apart. */
const coded = (error: GraphQLError) =>
  error.path === undefined && error.message.startsWith('Variable "$')
    ? withCode(error, 'BAD_USER_INPUT')
    : error;

interface SubscriptionArgs extends ExecutionArgs {
  readonly authenticate: () => Promise<Actor>;
}

/**
 * GraphQL's `subscribe`, with a fresh context for every event: loaders remember what they loaded, and a
 * subscription lives long. It may outlive its key too, so the credential is checked again (from the cache of
 * credentials) before each event is shown.
 */
async function subscribe({
  authenticate,
  ...args
}: SubscriptionArgs): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> {
  const source = await createSourceEventStream(args);
  if (!(Symbol.asyncIterator in source)) return source;
  const events = source[Symbol.asyncIterator]() as AsyncIterator<unknown>;
  const context = args.contextValue as ReturnType<typeof createGraphQLContext>;
  const { services, requestId } = context;
  let isRefused = false;
  const results: AsyncIterableIterator<ExecutionResult> = {
    async next() {
      const event = await events.next();
      if (event.done || isRefused) return { done: true, value: undefined };
      // While the database is away the answer that was last given stands.
      const actor = await authenticate().catch((error: unknown) =>
        error instanceof ParleyError ? error : context.actor,
      );
      if (actor instanceof ParleyError) {
        isRefused = true;
        await events.return?.();
        return { done: false, value: { errors: [toGraphQLError(actor)] } };
      }
      const contextValue = createGraphQLContext(services, actor, requestId);
      return { done: false, value: await execute({ ...args, rootValue: event.value, contextValue }) };
    },
    async return() {
      await events.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]: () => results,
  };
  return results;
}
