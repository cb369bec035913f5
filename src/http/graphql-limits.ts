import {
  type DocumentNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql';

/** The longest document in tokens; it is also what keeps the parser's recursion shallow. */
export const MAX_TOKENS = 2_000;
const MAX_ALIASES = 100;
const MAX_ROOT_FIELDS = 50;
const MAX_REPEATED_FIELDS = 50;
const MAX_DIRECTIVES = 50;
const MAX_FRAGMENTS = 100;

/**
 * What a parsed document has too much of, in words. It takes one pass, and comes before GraphQL's own validation,
 * of which some rules take time in the square of what is counted here.
 */
export function findExcess(document: DocumentNode, maxDepth: number): string[] {
  const counts = countParts(document);
  const measure = createMeasure(document);
  const sizes = document.definitions
    .filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
    .map(measure);
  const depth = Math.max(0, ...sizes.map((size) => size.depth));
  const rootFields = Math.max(0, ...sizes.map((size) => size.rootFields));
  const excesses: [number, number, string][] = [
    [depth, maxDepth, 'levels'],
    [rootFields, MAX_ROOT_FIELDS, 'fields at its root'],
    [counts.aliases, MAX_ALIASES, 'aliases'],
    [counts.repeatedFields, MAX_REPEATED_FIELDS, 'fields that repeat another'],
    [counts.fragments, MAX_FRAGMENTS, 'fragments'],
    [counts.directives, MAX_DIRECTIVES, 'directives'],
  ];
  return excesses
    .filter(([count, limit]) => count > limit)
    .map(([, limit, what]) => `has more than ${limit} ${what}`);
}

interface Counts {
  aliases: number;
  directives: number;
  fragments: number;
  repeatedFields: number;
}

function countParts({ definitions }: DocumentNode): Counts {
  const counts: Counts = { aliases: 0, directives: 0, fragments: 0, repeatedFields: 0 };
  for (const definition of definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) counts.fragments++;
    if (definition.kind !== Kind.FRAGMENT_DEFINITION && definition.kind !== Kind.OPERATION_DEFINITION)
      continue;
    counts.directives += definition.directives?.length ?? 0;
    if (definition.kind === Kind.OPERATION_DEFINITION) {
      for (const variable of definition.variableDefinitions ?? [])
        counts.directives += variable.directives?.length ?? 0;
    }
    countSet(definition.selectionSet, new Set(), counts);
  }
  return counts;
}

/** @param names what the fields are called that an answer has in one place; inline fragments add to the same place */
function countSet({ selections }: SelectionSetNode, names: Set<string>, counts: Counts): void {
  for (const selection of selections) {
    counts.directives += selection.directives?.length ?? 0;
    if (selection.kind === Kind.INLINE_FRAGMENT) countSet(selection.selectionSet, names, counts);
    if (selection.kind !== Kind.FIELD) continue;
    const { value } = selection.alias ?? selection.name;
    if (selection.alias) counts.aliases++;
    if (names.has(value)) counts.repeatedFields++;
    names.add(value);
    if (selection.selectionSet) countSet(selection.selectionSet, new Set(), counts);
  }
}

interface Size {
  /** How deep fields nest, not counting introspection: tools ask deep, and another rule bounds it. */
  readonly depth: number;
  readonly rootFields: number;
}

/** Measures through fragments, each of them once; one that spreads itself is another rule's concern. */
function createMeasure(document: DocumentNode): (operation: OperationDefinitionNode) => Size {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  const known = new Map<string, Size>();

  const ofFragment = (name: string): Size => {
    const fragment = fragments.get(name);
    const size = known.get(name);
    if (size || !fragment) return size ?? { depth: 0, rootFields: 0 };
    known.set(name, { depth: 0, rootFields: 0 });
    const found = ofSet(fragment.selectionSet);
    known.set(name, found);
    return found;
  };

  const ofSet = (set: SelectionSetNode): Size => {
    let depth = 0;
    let rootFields = 0;
    for (const selection of set.selections) {
      if (selection.kind === Kind.FIELD) {
        rootFields++;
        if (selection.name.value.startsWith('__')) continue;
        const inside = selection.selectionSet ? ofSet(selection.selectionSet).depth : 0;
        depth = Math.max(depth, inside + 1);
      } else {
        const size =
          selection.kind === Kind.INLINE_FRAGMENT
            ? ofSet(selection.selectionSet)
            : ofFragment(selection.name.value);
        depth = Math.max(depth, size.depth);
        rootFields += size.rootFields;
      }
    }
    return { depth, rootFields };
  };

  return ({ selectionSet }) => ofSet(selectionSet);
}
