/** Requests that a server must refuse before it does anything for them. */
export interface Attack {
  readonly name: string;
  readonly query: string;
  /** `extensions.code` of the refusal. */
  readonly code: string;
  /** What the refusal says. */
  readonly says: RegExp;
}

const list = (count: number, item: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => item(index)).join(' ');

/** Each fragment spreads the next twice: expanded it would have 2⁶⁰ fields. */
const explosion = `{ threads { edges { node { ...f0 } } } } ${list(
  60,
  (i) => `fragment f${i} on Thread { lastMessage { thread { ...f${i + 1} ...f${i + 1} } } }`,
)} fragment f60 on Thread { id }`;

/** Within the depth, and within the 2,000 tokens: 16 copies of 16 copies of … a page. */
const wideFragments = `{ ...f0 } ${list(
  7,
  (i) => `fragment f${i} on Query { ${list(16, (j) => `a${i}x${j}: node(id: "x") { id }`)} ...f${i + 1} }`,
)} fragment f7 on Query { eventCursor }`;

const nested = (levels: number, inner: string): string =>
  levels === 0
    ? inner
    : `{ threads(first: 100) { edges { node { messages(first: 100) { edges { node { thread ${nested(levels - 1, inner)} } } } } } } }`;

/** The list of issue and design; `{n}` makes each one another text, so that none is answered from a memory. */
export const attacks: readonly Attack[] = [
  {
    name: 'depth',
    query: `query Q{n} { threads { edges { node ${'{ lastMessage { thread '.repeat(20)}{ id }${' } }'.repeat(20)} } } }`,
    code: 'BAD_USER_INPUT',
    says: /more than 15 levels/,
  },
  {
    name: '1,000 aliases',
    query: `query Q{n} { ${list(600, (i) => `a${i}:eventCursor`)} }`,
    code: 'BAD_USER_INPUT',
    says: /more than 100 aliases/,
  },
  {
    name: 'the same field 1,900 times',
    query: `query Q{n} { ${'eventCursor '.repeat(1_900)} }`,
    code: 'BAD_USER_INPUT',
    says: /fields that repeat another/,
  },
  {
    name: 'the same object 280 times, hidden in inline fragments',
    query: `query Q{n} { ${'...{viewer{userId}} '.repeat(280)} }`,
    code: 'BAD_USER_INPUT',
    says: /fields that repeat another/,
  },
  {
    name: '600 directives',
    query: `query Q{n} { eventCursor ${'@x '.repeat(600)} }`,
    code: 'BAD_USER_INPUT',
    says: /more than 50 directives/,
  },
  {
    name: 'many fields at the root, through fragments',
    query: wideFragments.replace('{ ...f0 }', 'query Q{n} { ...f0 }'),
    code: 'BAD_USER_INPUT',
    says: /more than 50 fields at its root/,
  },
  {
    name: 'a fragment cycle',
    query:
      'query Q{n} { thread(id: "x") { ...a } } fragment a on Thread { lastMessage { thread { ...b } } } fragment b on Thread { lastMessage { thread { ...a } } }',
    code: 'GRAPHQL_VALIDATION_FAILED',
    says: /Cannot spread fragment/,
  },
  {
    name: 'fragments that explode',
    query: explosion.replace('{ threads', 'query Q{n} { threads'),
    code: 'BAD_USER_INPUT',
    says: /more than 15 levels/,
  },
  {
    name: '10,000 tokens',
    query: `query Q{n} { ${'viewer { tenantId } '.repeat(2_500)} }`,
    code: 'GRAPHQL_PARSE_FAILED',
    says: /token/,
  },
  {
    name: 'a cost bomb',
    query: `query Q{n} ${nested(1, '{ messages(first: 100) { edges { node { logs { event } } } } }')}`,
    code: 'BAD_USER_INPUT',
    says: /costs \d+, and one request may cost 20000/,
  },
  {
    name: 'introspection as a cost bomb',
    query: `query Q{n} { ${list(90, (i) => `a${i}: __type(name: "Query") { fields { args { type { name } } } }`)} }`,
    code: 'BAD_USER_INPUT',
    says: /more than 50 fields at its root/,
  },
];

/** Needs a server whose introspection is off. */
export const introspection: Attack = {
  name: 'introspection when it is off',
  query: 'query Q{n} { __schema { types { name fields { name } } } }',
  code: 'GRAPHQL_VALIDATION_FAILED',
  says: /introspection/i,
};

/** The text of an attack's n-th request. */
export const textOf = ({ query }: Attack, n = 0): string => query.replace('{n}', String(n));
