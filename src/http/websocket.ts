import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import { createSourceEventStream, type ExecutionArgs, type ExecutionResult, GraphQLError } from 'graphql';
import { handleProtocols, makeServer, type SubscribePayload } from 'graphql-ws';
import { type WebSocket, WebSocketServer } from 'ws';
import { ParleyError } from '../errors.js';
import type { GraphQLContext } from '../resolvers/context.js';
import { type Authentication, bearerToken } from '../services/authentication.js';
import type { Context } from '../services/context.js';
import { createConnectionLimit } from './connection-limit.js';
import { createGraphQLContext, GRAPHQL_PATH } from './graphql.js';
import type { GraphQL } from './graphql-engine.js';
import { toGraphQLError } from './graphql-errors.js';
import type { Operation } from './graphql-operations.js';
import { serveSocket } from './graphql-socket.js';
import type { RateLimiter } from './rate-limit.js';
import { acceptWebSockets } from './upgrade.js';

/** From the opening of a socket to its credential. */
const CONNECTION_INIT_TIMEOUT_MS = 5_000;
/** Subscriptions included. */
const MAX_OPERATIONS_PER_SOCKET = 100;
/** "Try again later": clients do, and a connection that broke is counted until its end is noticed. */
const TOO_MANY_CONNECTIONS = 1013;

/** What is known of a connection. */
type Connection = {
  readonly socket: WebSocket;
  /** Checked again for every operation. */
  credential?: string | undefined;
  operations: number;
  release?: () => void;
};

/** An operation on its way through graphql-ws, with what it is to be run with. */
interface Running extends ExecutionArgs {
  readonly operation: Operation;
  readonly contextValue: GraphQLContext;
  readonly connection: Connection;
}

export interface WebSocketMount {
  /** Ends every connection with 1001 (going away). */
  close(): Promise<void>;
}

/**
 * Mounts GraphQL over WebSocket by the graphql-transport-ws protocol. It does not pass through Apollo; documents
 * and operations go through the same functions as those of the HTTP side.
 */
export function mountWebSocket(
  server: Server,
  services: Context,
  authentication: Authentication,
  { schema, documents, operations, trusted }: GraphQL,
  requests: RateLimiter | null,
): WebSocketMount {
  const { config, log } = services;
  const sockets = new WebSocketServer({ noServer: true, handleProtocols, maxPayload: config.maxBodyBytes });
  const connections = createConnectionLimit(config.maxConnectionsPerKey);

  const protocol = makeServer<Record<string, unknown>, Connection>({
    connectionInitWaitTimeout: CONNECTION_INIT_TIMEOUT_MS,
    async onConnect({ connectionParams, extra }) {
      extra.credential = credentialOf(connectionParams);
      const actor = await authentication.authenticate(extra.credential).catch(refusal);
      const { socket } = extra;
      if (actor instanceof ParleyError || socket.readyState !== socket.OPEN) return false;
      extra.release = connections.take(actor.keyId);
      if (!extra.release) socket.close(TOO_MANY_CONNECTIONS, 'Too many connections with this API key');
      return extra.release !== undefined;
    },
    onClose: ({ extra }) => extra.release?.(),
    async onSubscribe({ extra }, _id, payload) {
      if (extra.operations >= MAX_OPERATIONS_PER_SOCKET) return [tooManyOperations()];
      extra.operations++;
      const prepared = await prepare(extra, payload).catch((error) => {
        extra.operations--;
        throw error;
      });
      if (Array.isArray(prepared)) extra.operations--;
      return prepared;
    },
    execute: (args) => {
      const { operation, contextValue, connection } = args as Running;
      return operations.run(operation, contextValue).finally(() => connection.operations--);
    },
    subscribe: (args) => subscribe(args as Running),
    onError: (_context, _id, _payload, errors) => operations.show({ errors }, undefined, 'none').errors,
    onNext(_context, _id, _payload, args, result) {
      const { operation, contextValue } = args as Running;
      return operations.show(result as ExecutionResult, operation.cost, contextValue.requestId) as never;
    },
  });

  /** Everything up to running it: errors, or what graphql-ws hands to `execute` or `subscribe`. */
  async function prepare(
    connection: Connection,
    payload: SubscribePayload,
  ): Promise<GraphQLError[] | Running> {
    const actor = await authentication.authenticate(connection.credential).catch(refusal);
    if (actor instanceof ParleyError) return [toGraphQLError(actor)];
    const allowance = await requests?.consume(actor.keyId).catch(refusal);
    if (allowance instanceof ParleyError) return [toGraphQLError(allowance)];
    const text = trusted ? trusted.find({ ...payload }) : payload.query;
    const document = text instanceof GraphQLError ? text : await documents.parse(text);
    if (document instanceof GraphQLError) return [document];
    const { operationName, variables } = payload;
    const operation = await operations.admit(actor, { document, operationName, variables });
    if ('errors' in operation) return [...operation.errors];
    return {
      schema,
      document,
      operationName: operationName ?? null,
      variableValues: variables ?? null,
      contextValue: createGraphQLContext(services, actor, randomUUID()),
      operation,
      connection,
    };
  }

  /**
   * GraphQL's `subscribe`, with a fresh context for every event: loaders remember what they loaded, and a
   * subscription lives long. It may outlive its key too, so the credential is checked again (from the cache of
   * credentials) before each event is shown.
   */
  async function subscribe(args: Running): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> {
    const { operation, contextValue: context, connection } = args;
    let isOver = false;
    const finish = () => {
      if (!isOver) connection.operations--;
      isOver = true;
    };
    const source = await createSourceEventStream(args).catch((error) => {
      finish();
      throw error;
    });
    if (!(Symbol.asyncIterator in source)) {
      finish();
      return source;
    }
    const events = source[Symbol.asyncIterator]() as AsyncIterator<unknown>;

    async function next(): Promise<IteratorResult<ExecutionResult, undefined>> {
      const event = await events.next();
      if (event.done || isOver) return { done: true, value: undefined };
      // While the database is away the answer that was last given stands.
      const actor = await authentication
        .authenticate(connection.credential)
        .catch((error: unknown) => (error instanceof ParleyError ? error : context.actor));
      if (actor instanceof ParleyError) {
        finish();
        await events.return?.();
        return { done: false, value: { errors: [toGraphQLError(actor)] } };
      }
      const fresh = createGraphQLContext(services, actor, context.requestId);
      return { done: false, value: await operations.run(operation, fresh, event.value) };
    }

    const results: AsyncIterableIterator<ExecutionResult> = {
      async next() {
        try {
          const result = await next();
          if (result.done) finish();
          return result;
        } catch (error) {
          finish();
          throw error;
        }
      },
      async return() {
        finish();
        await events.return?.();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => results,
    };
    return results;
  }

  const stopAccepting = acceptWebSockets(server, GRAPHQL_PATH, config, (request, socket, head) =>
    sockets.handleUpgrade(request, socket, head, (ws) =>
      serveSocket(protocol, ws, request.socket, { socket: ws, operations: 0 }, log),
    ),
  );

  return {
    async close() {
      stopAccepting();
      for (const socket of sockets.clients) socket.close(1001, 'Going away');
      await new Promise((resolve) => sockets.close(resolve));
    },
  };
}

/** `{ authorization: "Bearer …" }` of the connection parameters, whatever its capitals. */
function credentialOf(parameters: Record<string, unknown> | undefined): string | undefined {
  const entry = Object.entries(parameters ?? {}).find(([name]) => name.toLowerCase() === 'authorization');
  return bearerToken(entry?.[1]);
}

/** A refusal as a value; anything else that goes wrong stays thrown. */
function refusal(error: unknown): ParleyError {
  if (error instanceof ParleyError) return error;
  throw error;
}

const tooManyOperations = () =>
  toGraphQLError(
    new ParleyError(
      'rate_limited',
      `A connection runs at most ${MAX_OPERATIONS_PER_SOCKET} operations at once`,
    ),
  );
