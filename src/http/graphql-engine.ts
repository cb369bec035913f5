import type { GraphQLSchema } from 'graphql';
import type { Redis } from 'ioredis';
import { createSchema } from '../resolvers/schema.js';
import type { Context } from '../services/context.js';
import { createDocuments, type Documents } from './graphql-documents.js';
import { createOperations, type Operations } from './graphql-operations.js';
import { loadTrustedDocuments, type TrustedDocuments } from './graphql-trusted.js';
import { createRateLimiter } from './rate-limit.js';

/** What both transports of GraphQL are made of, so that neither has a rule that the other lacks. */
export interface GraphQL {
  readonly schema: GraphQLSchema;
  readonly documents: Documents;
  readonly operations: Operations;
  /** Null: any valid document may run. */
  readonly trusted: TrustedDocuments | null;
}

/** @throws ConfigError when the manifest of trusted documents is faulty */
export async function createGraphQL(services: Context, redis: Redis | null): Promise<GraphQL> {
  const { config, log } = services;
  const schema = createSchema();
  const documents = createDocuments(schema, config);
  const budgets =
    config.graphqlCostPerMinute === null
      ? null
      : createRateLimiter({
          budget: 'graphql-cost',
          pointsPerMinute: config.graphqlCostPerMinute,
          redis,
          log,
        });
  return {
    schema,
    documents,
    operations: createOperations(services, schema, documents, budgets),
    trusted:
      config.trustedDocuments === null
        ? null
        : await loadTrustedDocuments(config.trustedDocuments, documents),
  };
}
