import fc from 'fast-check';

/** The usual one in so many percent of the cases, otherwise one of the others. */
export const mostly = <T>(
  usual: fc.Arbitrary<T>,
  percent: number,
  ...others: fc.Arbitrary<T>[]
): fc.Arbitrary<T> =>
  fc.oneof(
    { weight: percent * others.length, arbitrary: usual },
    ...others.map((arbitrary) => ({ weight: 100 - percent, arbitrary })),
  );

/** Any UTF-16, lone surrogates and U+0000 included. */
export const anyText = fc
  .array(fc.nat(0xffff), { maxLength: 20 })
  .map((units) => String.fromCharCode(...units));
export const oddText = fc.oneof(
  anyText,
  fc.string({ unit: 'binary' }),
  fc.constantFrom(
    '',
    ' ',
    '\0',
    '\ud800',
    'null',
    '__proto__',
    'constructor',
    '%',
    "'; --",
    '../..',
    '٣',
    '😀',
  ),
  fc.nat(100_000).map((length) => 'x'.repeat(length)),
);
export const oddNumber = fc.oneof(
  fc.double(),
  fc.maxSafeInteger(),
  fc.constantFrom(-1, 0, -0, 0.5, 2 ** 31, 2 ** 53, 1e308),
);
export const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(null, true, false, [], {}, [null], { '': {} }, { toString: 1 }),
  oddText,
  oddNumber,
  fc.jsonValue(),
);

/** JSON text that no `JSON.stringify` would write; it stands in for a value. */
export const rawValue = fc.oneof(
  fc.constantFrom(
    '"§large:9§"',
    '1e999',
    '-0',
    '1E-400',
    '123456789012345678901234567890',
    '{"a":1,"a":2}',
    '{"__proto__":{"a":1}}',
    '"\\ud800"',
    '"\\u0000"',
  ),
  fc.nat(200).map((depth) => '['.repeat(depth) + ']'.repeat(depth)),
  fc.nat(100).map((depth) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`),
  fc.nat(20_000).map((width) => `[${'0,'.repeat(width)}0]`),
  fc.nat(5_000).map((width) => `{${Array.from({ length: width }, (_, n) => `"${n}":""`).join()}}`),
);

const base64 = fc.oneof(
  fc.base64String(),
  fc.uint8Array({ maxLength: 5_000 }).map((bytes) => Buffer.from(bytes).toString('base64url')),
  fc.string({ unit: fc.constantFrom(...'ABCz019+/-_= \n\0é') }),
);

/** A member of an example, by its way down. */
type Way = readonly (string | number)[];
function waysOf(value: unknown, way: Way = []): Way[] {
  if (typeof value !== 'object' || value === null) return [way];
  return [
    way,
    ...Object.entries(value).flatMap(([key, inner]) =>
      waysOf(inner, [...way, Array.isArray(value) ? Number(key) : key]),
    ),
  ];
}

const RAW = '§raw§';
const changed = (value: unknown, way: Way, to: unknown): unknown => {
  const [key, ...rest] = way;
  if (key === undefined) return to;
  if (typeof value !== 'object' || value === null) return value;
  const copy: Record<string | number, unknown> = Array.isArray(value) ? ([...value] as never) : { ...value };
  copy[key] = changed(copy[key], rest, to);
  if (copy[key] === undefined) delete copy[key];
  return copy;
};

/** An example with some of its members taken away or exchanged, as JSON text. */
export function nearly(
  example: unknown,
  extras: Record<string, fc.Arbitrary<unknown>>,
): fc.Arbitrary<string> {
  const way = fc.constantFrom(...waysOf(example));
  const change = fc.tuple(way, fc.oneof(oddValue, fc.constant(undefined), base64, fc.constant(RAW)));
  const extra = fc
    .subarray(Object.keys(extras), { maxLength: 1 })
    .chain((names) => fc.record(Object.fromEntries(names.map((name) => [name, extras[name] ?? oddValue]))));
  return fc
    .tuple(mostly(fc.constant<[Way, unknown][]>([]), 50, fc.array(change, { maxLength: 2 })), extra, rawValue)
    .map(([changes, more, raw]) => {
      const base = typeof example === 'object' ? { ...example, ...more } : example;
      const value = changes.reduce<unknown>((body, [at, to]) => changed(body, at, to), base);
      return (JSON.stringify(value) ?? '').replaceAll(`"${RAW}"`, raw);
    });
}
