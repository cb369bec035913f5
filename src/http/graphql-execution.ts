import {
  BREAK,
  type DocumentNode,
  type ExecutionResult,
  execute,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  getVariableValues,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
  visit,
} from 'graphql';
import { type CompiledQuery, compileQuery, isCompiledQuery } from 'graphql-jit';

/** A valid operation, and what it runs with. */
export interface Execution {
  readonly document: DocumentNode;
  readonly definition: OperationDefinitionNode;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly contextValue: unknown;
  readonly rootValue: unknown;
}

export type Execute = (execution: Execution) => ExecutionResult | Promise<ExecutionResult>;

/** An operation is compiled when it is run so often: that takes about ten times what it saves of one run. */
const RUNS_BEFORE_COMPILING = 10;
/** Of one operation, with what its fragments have as often as they are spread. Each takes up to half a millisecond. */
const MAX_FIELDS = 200;
/** Of all that are kept compiled; a field takes some kilobytes. */
const MAX_COMPILED_FIELDS = 5_000;

/**
 * Makes the function that runs operations. What is read again and again is compiled: of a request for a page,
 * graphql-js takes a sixth to a third over its fields. The answers are the same.
 */
export function createExecute(schema: GraphQLSchema): Execute {
  const runs = new WeakMap<OperationDefinitionNode, number>();
  const compiled = new Map<OperationDefinitionNode, { run: CompiledQuery['query']; fields: number }>();
  let compiledFields = 0;

  function compile({ document, definition }: Execution): CompiledQuery['query'] | null {
    const fields = countFields(document, definition);
    if (fields > MAX_FIELDS || !isCompilable(document, definition)) return null;
    const made = compileQuery(schema, document, definition.name?.value ?? '');
    if (!isCompiledQuery(made)) return null;
    compiled.set(definition, { run: made.query, fields });
    compiledFields += fields;
    for (const [oldest, { fields }] of compiled) {
      if (compiledFields <= MAX_COMPILED_FIELDS) break;
      compiled.delete(oldest);
      runs.delete(oldest);
      compiledFields -= fields;
    }
    return made.query;
  }

  /** Null: it is to be interpreted. */
  function compiledQuery(execution: Execution): CompiledQuery['query'] | null {
    const { definition } = execution;
    const known = compiled.get(definition);
    if (known) {
      // The map forgets in the order of its entries; this one was used last.
      compiled.delete(definition);
      compiled.set(definition, known);
      return known.run;
    }
    const count = (runs.get(definition) ?? 0) + 1;
    runs.set(definition, count);
    return count === RUNS_BEFORE_COMPILING ? compile(execution) : null;
  }

  return (execution) => {
    const { document, definition, variables, contextValue, rootValue } = execution;
    const query = compiledQuery(execution);
    if (!query) {
      const operationName = definition.name?.value;
      return execute({ schema, document, operationName, variableValues: variables, contextValue, rootValue });
    }
    // Compiled code has its own words for a fault of a variable.
    const { errors } = getVariableValues(schema, definition.variableDefinitions ?? [], variables, {
      maxErrors: 50,
    });
    return errors ? { errors } : query(rootValue, contextValue, variables);
  };
}

/**
 * graphql-jit writes values that stand in a document into the code that it makes, and does not escape every text. So
 * a document has none: numbers and names are no code. Names that JavaScript gives a meaning to are left to graphql-js
 * as well, and directives, whose conditions the library does not follow into every fragment.
 */
function isCompilable(document: DocumentNode, { operation }: OperationDefinitionNode): boolean {
  // A mutation is mostly input and gains nothing.
  let isPlain = operation !== 'mutation';
  visit(document, {
    enter({ kind, ...node }) {
      const isName = kind === Kind.NAME && 'value' in node && MEANINGFUL.has(String(node.value));
      if (!isName && kind !== Kind.STRING && kind !== Kind.DIRECTIVE) return;
      isPlain = false;
      return BREAK;
    },
  });
  return isPlain;
}

const MEANINGFUL = new Set(['__proto__', 'constructor', 'prototype']);

/** How many fields an operation has when its fragments are written out, and these; no more than are needed to tell. */
function countFields(document: DocumentNode, { selectionSet }: OperationDefinitionNode): number {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  let count = 0;
  const add = ({ selections }: SelectionSetNode): void => {
    for (const selection of selections) {
      if (++count > MAX_FIELDS) return;
      const set =
        selection.kind === Kind.FRAGMENT_SPREAD
          ? fragments.get(selection.name.value)?.selectionSet
          : selection.selectionSet;
      if (set) add(set);
    }
  };
  add(selectionSet);
  return count;
}
