import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import { type ExecutionResult, GraphQLError } from 'graphql';
import { CloseCode, handleProtocols, makeServer, type SubscribePayload } from 'graphql-ws';
import { type ServerOptions, WebSocketServer } from 'ws';
import { ParleyError } from '../errors.js';
import { createGraphQLContext } from '../resolvers/context.js';
import { type Authentication, bearerToken } from '../services/authentication.js';
import type { Context } from '../services/context.js';
import { GRAPHQL_PATH } from './graphql.js';
import type { GraphQL } from './graphql-engine.js';
import { toGraphQLError } from './graphql-errors.js';
import { type Connection, serveSocket, TRY_AGAIN_LATER } from './graphql-socket.js';
import { createSubscribe, type Running } from './graphql-subscription.js';
import type { OpenConnections } from './open-connections.js';
import type { RateLimiter } from './rate-limit.js';
import { acceptWebSockets } from './upgrade.js';

/** From the opening of a socket to its credential. */
const CONNECTION_INIT_TIMEOUT_MS = 5_000;
/** Subscriptions included. */
const MAX_OPERATIONS_PER_SOCKET = 100;
/** Clients connect again, elsewhere, and go on. */
const GOING_AWAY = 1001;
/** For a client to answer that its socket is being closed. */
const CLOSE_TIMEOUT_MS = 3_000;

export interface WebSocketMount {
  /**
   * Ends every connection with 1001 (going away), once its operations have been answered and its subscriptions have
   * come to their end, or the time is up.
   */
  close(patienceMs: number): Promise<void>;
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
  open: OpenConnections,
): WebSocketMount {
  const { config, log } = services;
  const sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: acknowledgeProtocol,
    maxPayload: config.maxBodyBytes,
    closeTimeout: CLOSE_TIMEOUT_MS,
  } as ServerOptions);
  const connections = new Set<Connection>();
  let isDraining = false;

  /** An operation has come to its end. The answer is handed to the socket within the same turn, before the farewell. */
  function settle(connection: Connection): void {
    connection.operations--;
    if (isDraining) setImmediate(() => leaveIfIdle(connection));
  }

  const leaveIfIdle = ({ operations: underWay, socket }: Connection) => {
    if (underWay === 0) socket.close(GOING_AWAY, 'Going away');
  };

  const refuse = ({ socket }: Connection) => socket.close(CloseCode.Forbidden, 'Forbidden');

  const subscribe = createSubscribe(log, authentication, operations, {
    settle,
    refuse,
    isDraining: () => isDraining,
  });

  const protocol = makeServer<Record<string, unknown>, Connection>({
    connectionInitWaitTimeout: CONNECTION_INIT_TIMEOUT_MS,
    async onConnect({ connectionParams, extra }) {
      extra.credential = credentialOf(connectionParams);
      const actor = await authentication.authenticate(extra.credential).catch(refusal);
      const { socket } = extra;
      if (actor instanceof ParleyError || socket.readyState !== socket.OPEN) return false;
      extra.release = open.connect(actor, () => refuse(extra));
      // One of them may be broken, which is counted until its end is noticed.
      if (!extra.release) socket.close(TRY_AGAIN_LATER, 'Too many connections with this API key');
      return extra.release !== undefined;
    },
    onClose({ extra }) {
      connections.delete(extra);
      extra.release?.();
    },
    async onSubscribe({ extra }, id, payload) {
      if (extra.operations >= MAX_OPERATIONS_PER_SOCKET) return [tooManyOperations()];
      extra.operations++;
      const prepared = await prepare(extra, id, payload).catch((error) => {
        settle(extra);
        throw error;
      });
      if (Array.isArray(prepared)) settle(extra);
      return prepared;
    },
    async execute(args) {
      const { operation, contextValue, connection } = args as Running;
      try {
        return await operations.run(operation, contextValue);
      } finally {
        settle(connection);
      }
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
    id: string,
    payload: SubscribePayload,
  ): Promise<GraphQLError[] | Running> {
    const actor = await authentication.authenticate(connection.credential).catch(refusal);
    if (actor instanceof ParleyError) {
      refuse(connection);
      return [toGraphQLError(actor)];
    }
    const allowance = await requests?.consume(actor.keyId).catch(refusal);
    if (allowance instanceof ParleyError) return [toGraphQLError(allowance)];
    const text = trusted ? trusted.find({ ...payload }) : payload.query;
    const document = text instanceof GraphQLError ? text : await documents.parse(text);
    if (document instanceof GraphQLError) return [document];
    const { operationName, variables } = payload;
    const operation = await operations.admit(actor, { document, operationName, variables });
    if ('errors' in operation) return [...operation.errors];
    const leave = operation.definition.operation === 'subscription' ? open.subscribe(actor) : () => {};
    if (!leave) return [tooManySubscriptions()];
    return {
      id,
      schema,
      document,
      operationName: operationName ?? null,
      variableValues: variables ?? null,
      contextValue: createGraphQLContext(services, { actor, requestId: randomUUID() }),
      operation,
      connection,
      leave,
    };
  }

  const stopAccepting = acceptWebSockets(server, GRAPHQL_PATH, config, (request, socket, head) =>
    sockets.handleUpgrade(request, socket, head, (ws) => {
      const connection: Connection = { socket: ws, stream: request.socket, operations: 0 };
      connections.add(connection);
      serveSocket(protocol, connection, log);
    }),
  );

  return {
    async close(patienceMs) {
      stopAccepting();
      isDraining = true;
      for (const connection of connections) leaveIfIdle(connection);
      const timer = setTimeout(() => {
        for (const socket of sockets.clients) socket.close(GOING_AWAY, 'Going away');
      }, patienceMs);
      await new Promise((resolve) => sockets.close(resolve));
      clearTimeout(timer);
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

/** A client hangs up without a word on a server that takes none of its protocols; so it gets to read why: a 4406. */
const acknowledgeProtocol = (offered: Set<string>) => handleProtocols(offered) || ([...offered][0] ?? false);

const tooManySubscriptions = () =>
  toGraphQLError(new ParleyError('rate_limited', 'The API key has too many subscriptions; end one of them'));

const tooManyOperations = () =>
  toGraphQLError(
    new ParleyError(
      'rate_limited',
      `A connection runs at most ${MAX_OPERATIONS_PER_SOCKET} operations at once`,
    ),
  );
