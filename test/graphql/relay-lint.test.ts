import {
  type GraphQLField,
  type GraphQLObjectType,
  getNamedType,
  getNullableType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
} from 'graphql';
import { describe, expect, it } from 'vitest';
import { createSchema } from '../../src/resolvers/schema.js';

/**
 * The GraphQL Cursor Connections Specification and the Global Object Identification Specification, rule by rule.
 * https://relay.dev/graphql/connections.htm
 */
const schema = createSchema();
const objects = Object.values(schema.getTypeMap()).filter(
  (type): type is GraphQLObjectType => isObjectType(type) && !type.name.startsWith('__'),
);
const connections = objects.filter(({ name }) => name.endsWith('Connection'));
const edges = objects.filter(({ name }) => name.endsWith('Edge'));
const fieldsOf = (type: GraphQLObjectType) => Object.values(type.getFields());
const typeOf = (type: GraphQLObjectType | undefined | null, field: string) =>
  String(type?.getFields()[field]?.type);

/** The contract gives these integer ids, so they cannot be found by a global one. */
const WITHOUT_GLOBAL_ID = ['AgentProduct', 'AgentProductRun', 'WorkflowConversation'];
/** Its id is the name that operators chose for it, and nothing but its own maker reads it. */
const NAMED_BY_ID = ['Tenant'];
/** The contract has search from the front only: ranks change as messages come, so there is no stable end. */
const FORWARD_ONLY = ['Query.searchMessages'];
/** A page of the log: its cursor is good for subscriptions too, and `hasMore` is all that there is to know of it. */
const NO_CONNECTION = ['EventPage'];

const all = (faults: (string | false | undefined)[]) => faults.filter(Boolean);

describe('the SDL, by the rules of Relay', () => {
  it('has connections', () => {
    expect(connections.length).toBeGreaterThan(8);
    expect(edges.length).toBe(connections.length);
  });

  it('gives every connection edges and a pageInfo that is never null', () => {
    const faults = connections.flatMap((type) => [
      typeOf(type, 'pageInfo') !== 'PageInfo!' && `${type.name}.pageInfo: ${typeOf(type, 'pageInfo')}`,
      !isListType(getNullableType(type.getFields().edges?.type)) && `${type.name}.edges is no list`,
      !edges.includes(getNamedType(type.getFields().edges?.type) as GraphQLObjectType) &&
        `${type.name}.edges are no edges`,
    ]);
    expect(all(faults)).toEqual([]);
  });

  it('gives every edge a cursor, and a node that is one object', () => {
    const faults = edges.flatMap((type) => {
      const node = type.getFields().node?.type;
      return [
        typeOf(type, 'cursor') !== 'String!' && `${type.name}.cursor: ${typeOf(type, 'cursor')}`,
        !node && `${type.name} has no node`,
        isListType(getNullableType(node)) && `${type.name}.node is a list`,
        node && isScalarType(getNamedType(node)) && `${type.name}.node is a scalar`,
      ];
    });
    expect(all(faults)).toEqual([]);
  });

  it('names an edge and a connection after what they hold', () => {
    const faults = connections.map((type) => {
      const edge = getNamedType(type.getFields().edges?.type);
      return edge?.name !== type.name.replace(/Connection$/, 'Edge') && `${type.name} holds ${edge?.name}`;
    });
    expect(all(faults)).toEqual([]);
  });

  it('has the PageInfo of the specification', () => {
    const pageInfo = schema.getType('PageInfo') as GraphQLObjectType;
    expect(Object.fromEntries(fieldsOf(pageInfo).map(({ name, type }) => [name, String(type)]))).toEqual({
      hasNextPage: 'Boolean!',
      hasPreviousPage: 'Boolean!',
      startCursor: 'String',
      endCursor: 'String',
    });
  });

  it('takes first, after, last and before wherever it gives a connection, and asks for none of them', () => {
    const faults = objects.flatMap((type) =>
      fieldsOf(type)
        .filter((field) => connections.includes(getNamedType(field.type) as GraphQLObjectType))
        .flatMap((field) => argumentFaults(`${type.name}.${field.name}`, field)),
    );
    expect(faults).toEqual([]);
  });

  it('gives lists that can be paged through as connections only', () => {
    const faults = objects.flatMap((type) =>
      fieldsOf(type)
        .filter(({ args }) => args.some(({ name }) => name === 'first' || name === 'after'))
        .filter(() => type.name !== 'Subscription')
        .filter((field) => !connections.includes(getNamedType(field.type) as GraphQLObjectType))
        .filter((field) => !NO_CONNECTION.includes(getNamedType(field.type).name))
        .map((field) => `${type.name}.${field.name}`),
    );
    expect(faults).toEqual([]);
  });

  it('finds every object again that has an id of its own', () => {
    const node = schema.getType('Node');
    expect(
      isInterfaceType(node) && Object.values(node.getFields()).map(({ name, type }) => `${name}: ${type}`),
    ).toEqual(['id: ID!']);
    expect(String(schema.getQueryType()?.getFields().node?.type)).toBe('Node');
    expect(String(schema.getQueryType()?.getFields().node?.args[0]?.type)).toBe('ID!');
    const isNode = (type: GraphQLObjectType) => type.getInterfaces().some(({ name }) => name === 'Node');
    const withId = objects.filter((type) => type.getFields().id !== undefined);
    expect(withId.length).toBeGreaterThan(8);
    const others = withId.filter((type) => !isNode(type)).map(({ name }) => name);
    expect(others.sort()).toEqual([...WITHOUT_GLOBAL_ID, ...NAMED_BY_ID].sort());
  });

  it('answers every mutation with an object that is never null', () => {
    const faults = Object.values(schema.getMutationType()?.getFields() ?? {}).map(
      ({ name, type }) => !(isNonNullType(type) && isObjectType(getNamedType(type))) && `${name}: ${type}`,
    );
    expect(all(faults)).toEqual([]);
  });
});

function argumentFaults(place: string, { args }: GraphQLField<unknown, unknown>): string[] {
  const given = new Map(args.map(({ name, type }) => [name, String(type)]));
  const wanted = { first: 'Int', after: 'String', last: 'Int', before: 'String' };
  return Object.entries(wanted)
    .filter(([name]) => !(FORWARD_ONLY.includes(place) && (name === 'last' || name === 'before')))
    .filter(([name, type]) => given.get(name) !== type)
    .map(([name]) => `${place}(${name}): ${given.get(name)}`);
}
