import {
  type ASTVisitor,
  GraphQLError,
  Kind,
  NoSchemaIntrospectionCustomRule,
  type SelectionSetNode,
  specifiedRules,
  type ValidationContext,
  type ValidationRule,
} from 'graphql';
import type { Config } from '../config.js';

/** The longest document in tokens; it is also what keeps the parser's recursion shallow. */
export const MAX_TOKENS = 2_000;

/** The rules that every document must keep, over HTTP and WebSocket alike. */
export function documentRules(
  config: Pick<Config, 'graphqlMaxDepth' | 'graphqlIntrospection'>,
): ValidationRule[] {
  return [
    depthLimit(config.graphqlMaxDepth),
    ...(config.graphqlIntrospection ? [] : [NoSchemaIntrospectionCustomRule]),
  ];
}

/** For a transport that does not add GraphQL's own rules by itself. */
export const allRules = (config: Parameters<typeof documentRules>[0]): ValidationRule[] => [
  ...specifiedRules,
  ...documentRules(config),
];

/** Counts how deep fields nest, through fragments. Introspection is not counted: tools ask deep, and it is bounded. */
const depthLimit =
  (limit: number): ValidationRule =>
  (context: ValidationContext): ASTVisitor => ({
    OperationDefinition(operation) {
      if (depthOf(context, operation.selectionSet, limit, new Set()) > limit) {
        context.reportError(
          new GraphQLError(`The operation nests deeper than ${limit} levels`, {
            nodes: [operation],
            extensions: { code: 'BAD_USER_INPUT' },
          }),
        );
      }
    },
  });

/** Stops as soon as the limit is passed; a fragment that spreads itself is another rule's concern. */
function depthOf(
  context: ValidationContext,
  set: SelectionSetNode,
  budget: number,
  spread: ReadonlySet<string>,
): number {
  let deepest = 0;
  for (const selection of set.selections) {
    let depth = 0;
    if (selection.kind === Kind.FIELD) {
      if (selection.name.value.startsWith('__')) continue;
      depth = 1;
      if (selection.selectionSet && budget > 0)
        depth += depthOf(context, selection.selectionSet, budget - 1, spread);
    } else if (selection.kind === Kind.INLINE_FRAGMENT) {
      depth = depthOf(context, selection.selectionSet, budget, spread);
    } else if (!spread.has(selection.name.value)) {
      const fragment = context.getFragment(selection.name.value);
      const inside = new Set(spread).add(selection.name.value);
      if (fragment) depth = depthOf(context, fragment.selectionSet, budget, inside);
    }
    deepest = Math.max(deepest, depth);
    if (deepest > budget) break;
  }
  return deepest;
}
