import {
  type DocumentNode,
  type ExecutionResult,
  GraphQLError,
  type GraphQLFormattedError,
  type GraphQLSchema,
  getOperationAST,
  type OperationDefinitionNode,
} from 'graphql';
import { invalidRequest } from '../errors.js';
import { type Caller, createGraphQLContext } from '../resolvers/context.js';
import { createCostOf } from '../resolvers/cost.js';
import type { Actor } from '../services/actor.js';
import { createReads } from '../services/cancellation.js';
import type { Context } from '../services/context.js';
import { withinDeadline } from './graphql-deadline.js';
import type { Documents } from './graphql-documents.js';
import { formatError, toGraphQLError, withCode } from './graphql-errors.js';
import { createExecute } from './graphql-execution.js';
import { type Allowance, RateLimited, type RateLimiter } from './rate-limit.js';

/** What an operation counts for; shown in `extensions.cost` of its answer. */
export interface Cost {
  readonly requested: number;
  readonly limit: number;
  /** What the key has left in its minute, where that is limited. */
  readonly perMinute?: Allowance;
}

/** An operation that passed every check. */
export interface Operation {
  readonly document: DocumentNode;
  readonly definition: OperationDefinitionNode;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly cost: Cost;
}

export interface OperationRequest {
  readonly document: DocumentNode;
  readonly operationName?: string | null | undefined;
  readonly variables?: Readonly<Record<string, unknown>> | null | undefined;
}

/** Why an operation may not run; `cost` when that was counted. */
export interface Refusal {
  readonly errors: readonly GraphQLError[];
  readonly cost?: Cost;
}

/** A result as callers get it. */
export interface Answer {
  data?: Record<string, unknown> | null;
  errors?: readonly GraphQLFormattedError[];
  extensions?: { readonly cost: Cost };
}

/** What happens to a parsed document, whichever transport it came by. */
export interface Operations {
  /** Checks it, counts its cost, and takes that from the key's budget. */
  admit(actor: Actor, request: OperationRequest): Promise<Operation | Refusal>;
  /** Runs a query or a mutation, or shows one event of a subscription (`rootValue`); at once if nothing is to be read. */
  run(operation: Operation, caller: Caller, rootValue?: unknown): ExecutionResult | Promise<ExecutionResult>;
  /** What callers see of a result or a refusal. */
  show(outcome: ExecutionResult | Refusal, cost: Cost | undefined, requestId: string): Answer;
  /** All of it, for a query or a mutation. Never rejects. */
  answer(request: OperationRequest, caller: Caller): Promise<Answer>;
}

export function createOperations(
  services: Context,
  schema: GraphQLSchema,
  documents: Documents,
  budgets: RateLimiter | null,
): Operations {
  const costOf = createCostOf(schema);
  const execute = createExecute(schema);
  const readsUntilAborted = createReads(services);
  const { config, log } = services;
  const limit = config.graphqlMaxCost;

  const operations: Operations = {
    async admit(actor, { document, operationName, variables }) {
      const [fault, ...faults] = documents.findFaults(document);
      if (fault) return { errors: [fault, ...faults] };
      const definition = getOperationAST(document, operationName);
      if (!definition) return { errors: [unresolved(operationName)] };
      const requested = costOf(document, definition, variables);
      if (requested > limit) {
        const issue = `costs ${requested}, and one request may cost ${limit}`;
        const refusal = invalidRequest(
          [{ field: 'query', issue }],
          `The operation ${issue}; ask for less at once`,
        );
        return { errors: [toGraphQLError(refusal)], cost: { requested, limit } };
      }
      const allowed = { document, definition, variables: variables ?? {} };
      if (!budgets) return { ...allowed, cost: { requested, limit } };
      try {
        const perMinute = await budgets.consume(actor.keyId, requested);
        return { ...allowed, cost: { requested, limit, perMinute } };
      } catch (error) {
        if (!(error instanceof RateLimited)) throw error;
        return { errors: [toGraphQLError(error)], cost: { requested, limit, perMinute: error.allowance } };
      }
    },

    run({ document, definition, variables }, caller, rootValue) {
      const executeWith = (services: Context) =>
        execute({
          document,
          definition,
          variables,
          contextValue: createGraphQLContext(services, caller),
          rootValue,
        });
      // A mutation is not cut short: nobody could tell how much of it was done. Its statements have limits.
      if (definition.operation === 'mutation') return executeWith(services);
      return withinDeadline(
        config.graphqlTimeoutMs,
        (signal) => executeWith(readsUntilAborted(signal)),
        () => log.warn({ requestId: caller.requestId }, 'a GraphQL request ran out of time'),
      );
    },

    show({ errors, ...outcome }, cost, requestId) {
      return {
        ...(errors && { errors: errors.map((error) => format(withVariableCode(error), requestId)) }),
        ...('data' in outcome && { data: outcome.data }),
        ...(cost && { extensions: { cost } }),
      };
    },

    async answer(request, caller) {
      const outcome = await operations.admit(caller.actor, request).catch(toRefusal);
      const show = (result: ExecutionResult | Refusal) =>
        operations.show(result, outcome.cost, caller.requestId);
      if ('errors' in outcome) return show(outcome);
      try {
        return show(await operations.run(outcome, caller));
      } catch (error) {
        return show(toRefusal(error as Error));
      }
    },
  };

  const format = (error: GraphQLError, requestId: string): GraphQLFormattedError =>
    formatError({ ...error.toJSON(), extensions: error.extensions }, error, requestId, services);

  return operations;
}

/** For what nobody expected. */
const toRefusal = (error: Error): Refusal => ({
  errors: [new GraphQLError(error.message, { originalError: error })],
});

const unresolved = (operationName: string | null | undefined) =>
  new GraphQLError(
    operationName
      ? `The document has no operation named "${operationName.slice(0, 100)}"`
      : 'The document has several operations (or none); name the one to run as operationName',
    { extensions: { code: 'OPERATION_RESOLUTION_FAILURE' } },
  );

/** Faults of variables come out of execution without a code. */
const withVariableCode = (error: GraphQLError) =>
  error.path === undefined && error.message.startsWith('Variable "$')
    ? withCode(error, 'BAD_USER_INPUT')
    : error;
