import {
  type DocumentNode,
  type FieldNode,
  type GraphQLCompositeType,
  type GraphQLField,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isCompositeType,
  isInterfaceType,
  isListType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  SchemaMetaFieldDef,
  type SelectionSetNode,
  TypeMetaFieldDef,
} from 'graphql';
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from '../pagination.js';

/** What a list counts for that takes no size, such as the logs of a message. */
const LIST_SIZE = 5;
/** What is added for each field of a mutation or subscription: writes, and what is kept open, cost more than reads. */
const CHANGE_COST = 10;

type Variables = Readonly<Record<string, unknown>>;

/**
 * Makes the function that tells what a valid operation costs before it runs: the number of objects that its answer
 * may hold. A page counts its content `first` or `last` times, another list five times; scalars and `pageInfo` are
 * free; each field of a mutation or subscription adds ten. What `@skip` and `@include` leave out counts too.
 */
export function createCostOf(schema: GraphQLSchema) {
  const pages = pageTypesOf(schema);

  return (
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Variables | null | undefined,
  ): number => {
    const root = schema.getRootType(operation.operation);
    if (!root) return 0;
    const fragments = new Map(
      document.definitions.flatMap((definition) =>
        definition.kind === Kind.FRAGMENT_DEFINITION ? [[definition.name.value, definition] as const] : [],
      ),
    );
    // A fragment costs the same wherever it is spread, so hostile documents take no longer than they are.
    const known = new Map<string, number>();

    const costOfSpread = (name: string): number => {
      const cost = known.get(name);
      if (cost !== undefined) return cost;
      known.set(name, 0);
      const fragment = fragments.get(name);
      const type = fragment && schema.getType(fragment.typeCondition.name.value);
      const found = isCompositeType(type) ? costOfSet(fragment!.selectionSet, type) : 0;
      known.set(name, found);
      return found;
    };

    const costOfSet = (set: SelectionSetNode, parent: GraphQLCompositeType): number => {
      let cost = 0;
      for (const selection of set.selections) {
        if (selection.kind === Kind.FIELD) cost += costOfField(selection, parent);
        else if (selection.kind === Kind.FRAGMENT_SPREAD) cost += costOfSpread(selection.name.value);
        else {
          const type = selection.typeCondition && schema.getType(selection.typeCondition.name.value);
          cost += costOfSet(selection.selectionSet, isCompositeType(type) ? type : parent);
        }
      }
      return cost;
    };

    const costOfField = (node: FieldNode, parent: GraphQLCompositeType): number => {
      const field = fieldOf(parent, node.name.value);
      const type = field && getNamedType(field.type);
      const base = parent === root && operation.operation !== 'query' ? CHANGE_COST : 0;
      if (!field || !node.selectionSet || !isCompositeType(type)) return base;
      const content = costOfSet(node.selectionSet, type);
      if (type.name === 'PageInfo') return base + content;
      if (takesSize(field)) return base + 1 + sizeOf(node, operation, variables) * content;
      const isList = isListType(getNullableType(field.type)) && !pages.has(parent.name);
      return base + (isList ? LIST_SIZE : 1) * (1 + content);
    };

    return Math.min(Math.max(1, costOfSet(operation.selectionSet, root)), Number.MAX_SAFE_INTEGER);
  };
}

const takesSize = ({ args }: GraphQLField<unknown, unknown>) => args.some(({ name }) => name === 'first');

/** The types of pages, whose own list is counted where the page is asked for. */
function pageTypesOf(schema: GraphQLSchema): ReadonlySet<string> {
  const fields = Object.values(schema.getTypeMap()).flatMap((type) =>
    isObjectType(type) || isInterfaceType(type) ? Object.values(type.getFields()) : [],
  );
  return new Set(fields.filter(takesSize).map(({ type }) => getNamedType(type).name));
}

function fieldOf(parent: GraphQLCompositeType, name: string): GraphQLField<unknown, unknown> | undefined {
  if (name === SchemaMetaFieldDef.name) return SchemaMetaFieldDef;
  if (name === TypeMetaFieldDef.name) return TypeMetaFieldDef;
  return isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[name] : undefined;
}

/** The asked size of a page. One that is out of range is refused later, before anything is read. */
function sizeOf(
  node: FieldNode,
  operation: OperationDefinitionNode,
  variables: Variables | null | undefined,
): number {
  for (const argument of node.arguments ?? []) {
    if (argument.name.value !== 'first' && argument.name.value !== 'last') continue;
    const { value } = argument;
    const size =
      value.kind === Kind.INT
        ? Number(value.value)
        : value.kind === Kind.VARIABLE
          ? variableSize(value.name.value, operation, variables)
          : undefined;
    if (typeof size === 'number') return Math.min(Math.max(1, size), MAX_PAGE_SIZE);
  }
  return DEFAULT_PAGE_SIZE;
}

function variableSize(
  name: string,
  { variableDefinitions = [] }: OperationDefinitionNode,
  variables: Variables | null | undefined,
): unknown {
  if (variables && Object.hasOwn(variables, name)) return variables[name];
  const fallback = variableDefinitions.find(({ variable }) => variable.name.value === name)?.defaultValue;
  return fallback?.kind === Kind.INT ? Number(fallback.value) : undefined;
}
