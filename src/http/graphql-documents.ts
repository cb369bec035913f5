import { createHash } from 'node:crypto';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  NoSchemaIntrospectionCustomRule,
  parse,
  specifiedRules,
  validate,
} from 'graphql';
import type { Config } from '../config.js';
import { invalidRequest } from '../errors.js';
import { toGraphQLError, withCode, withoutSuggestion } from './graphql-errors.js';
import { findExcess, MAX_TOKENS } from './graphql-limits.js';
import { detailOf } from './graphql-literals.js';

/** How much of valid documents is remembered, in characters: parsed, one takes about a hundred times that. */
const MAX_REMEMBERED = 300_000;

/** Documents from text to "may be run", for both transports. */
export interface Documents {
  /**
   * A valid document that was seen before; by the hash of its text. Otherwise it answers when it is the caller's
   * turn to parse: unknown documents go one at a time, and leave everybody else's work half of the time.
   */
  recall(hash: string): Promise<DocumentNode | undefined>;
  parse(text: string): Promise<DocumentNode | GraphQLError>;
  /** Checks limits first, then GraphQL's rules; remembers a document without faults. */
  findFaults(document: DocumentNode): readonly GraphQLError[];
}

export const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Called when a document has its turn; resolves when another may have it: after a pause as long as the first one took. */
async function pauseAfterAnother(): Promise<void> {
  const start = performance.now();
  await nextTurn();
  const took = performance.now() - start;
  if (took >= 1) await sleep(took);
}

export function createDocuments(
  schema: GraphQLSchema,
  config: Pick<Config, 'graphqlMaxDepth' | 'graphqlIntrospection'>,
): Documents {
  const rules = config.graphqlIntrospection
    ? specifiedRules
    : [...specifiedRules, NoSchemaIntrospectionCustomRule];
  const valid = new WeakSet<DocumentNode>();
  const remembered = new Map<string, DocumentNode>();
  let characters = 0;
  let lastTurn = Promise.resolve();

  const remember = (document: DocumentNode) => {
    valid.add(document);
    const text = document.loc?.source.body ?? '';
    const hash = hashOf(text);
    if (remembered.has(hash) || text.length > MAX_REMEMBERED) return;
    remembered.set(hash, document);
    characters += text.length;
    for (const [oldest, { loc }] of remembered) {
      if (characters <= MAX_REMEMBERED) break;
      remembered.delete(oldest);
      characters -= loc?.source.body.length ?? 0;
    }
  };

  return {
    async recall(hash) {
      const document = remembered.get(hash);
      if (!document) {
        lastTurn = lastTurn.then(pauseAfterAnother);
        await lastTurn;
        return undefined;
      }
      // The map forgets in the order of its entries; this one was used last.
      remembered.delete(hash);
      remembered.set(hash, document);
      return document;
    },
    async parse(text) {
      try {
        return (await this.recall(hashOf(text))) ?? parse(text, { maxTokens: MAX_TOKENS });
      } catch (error) {
        if (error instanceof GraphQLError) return withCode(error, 'GRAPHQL_PARSE_FAILED');
        throw error;
      }
    },
    findFaults(document) {
      if (valid.has(document)) return [];
      const excess = findExcess(document, config.graphqlMaxDepth);
      if (excess.length > 0) {
        const details = excess.map((issue) => ({ field: 'query', issue }));
        return [toGraphQLError(invalidRequest(details, `The document ${excess.join(', ')}`))];
      }
      const faults = validate(schema, document, rules);
      if (faults.length === 0) remember(document);
      return faults.map((fault) => {
        const message = config.graphqlIntrospection ? fault.message : withoutSuggestion(fault.message);
        return withCode(fault, 'GRAPHQL_VALIDATION_FAILED', detailOf(document, message, fault.nodes?.[0]));
      });
    },
  };
}
