import { once } from 'node:events';
import {
  createSourceEventStream,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
  print,
} from 'graphql';
import { ParleyError } from '../errors.js';
import type { Log } from '../log.js';
import type { GraphQLContext } from '../resolvers/context.js';
import type { Actor } from '../services/actor.js';
import type { Authentication } from '../services/authentication.js';
import type { LiveEvents } from '../services/events.js';
import { createEventAnswers } from './event-answers.js';
import { hashOf } from './graphql-documents.js';
import type { Operation, Operations } from './graphql-operations.js';
import { type Connection, send, TRY_AGAIN_LATER } from './graphql-socket.js';

/** An operation on its way through graphql-ws, with what it is to be run with. */
export interface Running extends ExecutionArgs {
  /** The client's name for it. */
  readonly id: string;
  readonly operation: Operation;
  readonly contextValue: GraphQLContext;
  readonly connection: Connection;
  /** Gives the place of a subscription back. */
  readonly leave: () => void;
}

/** What a subscription tells, and asks, those who look after its connection. */
export interface Keeper {
  /** An operation has come to its end. */
  settle(connection: Connection): void;
  /** Its credential is no longer good. */
  refuse(connection: Connection): void;
  isDraining(): boolean;
}

/**
 * GraphQL's `subscribe`, with a fresh context for every event: loaders remember what they loaded, and a
 * subscription lives long. It may outlive its key too, so the credential is checked again (from the cache of
 * credentials) before each event is shown.
 */
export function createSubscribe(
  log: Log,
  authentication: Authentication,
  operations: Operations,
  keeper: Keeper,
) {
  const answerOf = createEventAnswers();

  /** Such as when the database is away. The client is to connect again, and go on behind what it has. */
  function breakOff({ connection: { socket }, contextValue: { requestId } }: Running, error: unknown): void {
    log.warn({ err: error, requestId }, 'a subscription broke');
    socket.close(TRY_AGAIN_LATER, 'Try again later');
  }

  /** While the database is away the answer that was last given stands. */
  const authenticate = async ({ connection, contextValue }: Running): Promise<Actor | ParleyError> =>
    authentication
      .authenticate(connection.credential)
      .catch((error: unknown) => (error instanceof ParleyError ? error : contextValue.actor));

  return async (args: Running): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> => {
    const { operation, contextValue, connection, leave } = args;
    const { requestId } = contextValue;
    let isOver = false;
    const finish = () => {
      if (isOver) return;
      isOver = true;
      leave();
      keeper.settle(connection);
    };
    let source: AsyncIterable<unknown> | ExecutionResult;
    let identity: string;
    try {
      identity = identityOf(operation);
      source = await createSourceEventStream(args);
    } catch (error) {
      finish();
      throw error;
    }
    if (!(Symbol.asyncIterator in source)) {
      finish();
      // Without a path it is the caller's: of the document or its variables.
      const fault = source.errors?.find(({ path, originalError }) => path && isUnexpected(originalError));
      if (fault) breakOff(args, fault);
      return source;
    }
    const events = source[Symbol.asyncIterator]() as LiveEvents;
    const recall = authentication.recaller(connection.credential);
    const [head, tail] = frameOf(args);

    /**
     * Sends what is shared itself: graphql-ws would write it as JSON anew for every subscriber. Answers with what it
     * does not send, a result with errors, or with null when there are no more events. An event that could not be read
     * is not passed over: the connection ends before it.
     */
    async function next(): Promise<ExecutionResult | null> {
      for (;;) {
        const event = events.atHand() ?? (await events.next()).value;
        if (!event || isOver) return null;
        const actor = recall() ?? (await authenticate(args));
        if (actor instanceof ParleyError) {
          keeper.refuse(connection);
          return null;
        }
        const shown = answerOf(event, actor, identity, () =>
          operations.run(operation, { actor, requestId }, event),
        );
        const answer = shown instanceof Promise ? await shown : shown;
        if (isOver) return null;
        if (answer === null) continue;
        if (!Buffer.isBuffer(answer)) {
          const fault = answer.errors?.find(isUnread);
          if (!fault) return answer;
          breakOff(args, fault);
          return null;
        }
        const sending = send(connection, head, answer, tail);
        if (sending) await sending;
      }
    }

    const results: AsyncIterableIterator<ExecutionResult, undefined> = {
      async next() {
        const value = await next().catch((error: unknown) => {
          finish();
          if (!isUnexpected(error)) throw error;
          breakOff(args, error);
          return null;
        });
        if (value) return { done: false, value };
        finish();
        // "Complete" would tell the client that there is nothing to come back for.
        if (keeper.isDraining()) await closed(connection);
        return { done: true, value: undefined };
      },
      async return() {
        finish();
        await events.return?.();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => results,
    };
    return results;
  };
}

const identityOf = ({ document, definition, variables }: Operation): string =>
  hashOf(JSON.stringify([document.loc?.source.body ?? print(document), definition.name?.value, variables]));

/** What stands before and behind the data of each event; as graphql-ws writes what `Operations.show` answers. */
const frameOf = ({ id, operation: { cost } }: Running): [head: Buffer, tail: Buffer] => [
  Buffer.from(`{"id":${JSON.stringify(id)},"type":"next","payload":{"data":`),
  Buffer.from(`,"extensions":${JSON.stringify({ cost })}}}`),
];

async function closed({ socket }: Connection): Promise<void> {
  if (socket.readyState !== socket.CLOSED) await once(socket, 'close');
}

/** A part of an event that the database did not give, or not in time. */
const isUnread = ({ originalError, extensions }: GraphQLError): boolean =>
  extensions.code === 'TIMEOUT' || isUnexpected(originalError);

/** Neither meant for the caller nor the caller's own fault. */
const isUnexpected = (error: unknown) => error !== undefined && !(error instanceof ParleyError);
