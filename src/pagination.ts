import { createHash } from 'node:crypto';

/** Relay's arguments (GraphQL Cursor Connections Specification, section 4). */
export interface PageRequest {
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
  readonly last?: number | null | undefined;
  readonly before?: string | null | undefined;
}

export interface Connection<Row> {
  readonly edges: { readonly cursor: string; readonly node: Row }[];
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
}

type Value = Date | string | number;
type Kind = 'date' | 'uuid' | 'int' | 'float';

/** One column of a list's order. The last one of an order is unique within the list. */
export interface OrderKey {
  readonly field: string;
  readonly kind: Kind;
  readonly direction: 'asc' | 'desc';
}

/** A list that is read by keyset: a cursor holds the values of its order, so it outlives its row. */
export interface List {
  /** What the list is of, tenant included; a cursor is good for this list in this order only. */
  readonly name: string;
  readonly order: readonly OrderKey[];
}

export interface Page {
  readonly limit: number;
  readonly backward: boolean;
  readonly after: readonly Value[] | null;
  readonly before: readonly Value[] | null;
}

export const DEFAULT_PAGE_SIZE = 20;
export const MAX_PAGE_SIZE = 100;

/** Checks Relay's arguments for a list; answers with the page they ask for, or with what is wrong with them. */
export function parsePage(
  list: List,
  request: PageRequest,
): { page: Page } | { faults: { field: string; issue: string }[] } {
  const faults: { field: string; issue: string }[] = [];
  const { first, last } = request;
  if (first != null && last != null)
    faults.push({ field: 'last', issue: 'must not be given together with first' });
  for (const [field, size] of [['first', first] as const, ['last', last] as const]) {
    if (size != null && (size < 1 || size > MAX_PAGE_SIZE)) {
      faults.push({ field, issue: `must be from 1 to ${MAX_PAGE_SIZE}` });
    }
  }
  const decode = (field: 'after' | 'before') => {
    const cursor = request[field];
    if (cursor == null) return null;
    const values = decodeCursor(list, cursor);
    if (!values) faults.push({ field, issue: 'is not a cursor of this list' });
    return values;
  };
  const [after, before] = [decode('after'), decode('before')];
  if (faults.length > 0) return { faults };
  return { page: { limit: first ?? last ?? DEFAULT_PAGE_SIZE, backward: last != null, after, before } };
}

/**
 * The page as parts of a Prisma query. It asks for one row more than the page holds, which tells whether there
 * are more.
 */
export function pageQuery(list: List, page: Page) {
  const bounds = [
    page.after && keysetWhere(list.order, page.after, false),
    page.before && keysetWhere(list.order, page.before, true),
  ].filter((bound) => bound !== null);
  return {
    where: { AND: bounds },
    orderBy: list.order.map(({ field, direction }) => ({
      [field]: page.backward ? opposite[direction] : direction,
    })),
    take: page.limit + 1,
  };
}

/** How many rows a statement written by hand asks for: one more than the page holds, in few different texts. */
const LIMITS = [6, 21, 51, MAX_PAGE_SIZE + 1];

/**
 * The same for a statement that is written by hand: the bounds, each behind an AND, the order and the limit. For lists
 * whose keys all go in one direction. The limit stands in the text, so that Postgres can keep one plan for it.
 * @param columnOf what the fields of the order are called in the database
 * @param values of the statement so far; those of the bounds are added
 */
export function pageSql(
  list: List,
  page: Page,
  columnOf: Readonly<Record<string, string>>,
  values: unknown[],
): string {
  const columns = list.order.map(({ field }) => columnOf[field]);
  const isAscending = list.order[0]?.direction === 'asc';
  const bound = (place: readonly Value[] | null, isBehind: boolean) =>
    place
      ? `AND (${columns.join(', ')}) ${isAscending === isBehind ? '>' : '<'} (${place.map((value) => `$${values.push(value)}`).join(', ')})`
      : '';
  const direction = isAscending === page.backward ? 'DESC' : 'ASC';
  return `${bound(page.after, true)} ${bound(page.before, false)}
    ORDER BY ${columns.map((column) => `${column} ${direction}`).join(', ')}
    LIMIT ${LIMITS.find((limit) => limit > page.limit)}`;
}

/**
 * Makes the connection of the rows that `pageQuery` or `pageSql` brought; further ones are left out.
 * @param size how many of them the page holds, when it must be shorter than was asked for
 */
export function toConnection<Row extends object>(
  list: List,
  page: Page,
  rows: readonly Row[],
  size = page.limit,
): Connection<Row> {
  const hasMore = rows.length > size;
  const kept = rows.slice(0, size);
  if (page.backward) kept.reverse();
  const mark = fingerprint(list);
  const edges = kept.map((node) => ({ cursor: encodeCursor(list, mark, node), node }));
  return {
    edges,
    pageInfo: {
      hasNextPage: (!page.backward && hasMore) || page.before !== null,
      hasPreviousPage: (page.backward && hasMore) || page.after !== null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

const opposite = { asc: 'desc', desc: 'asc' } as const;

/**
 * The rows behind (or before) the given values. The bound on the first column alone is redundant and lets
 * Postgres begin inside the index instead of filtering from its start.
 */
function keysetWhere(order: readonly OrderKey[], values: readonly Value[], before: boolean): object {
  const alternatives = order.map((key, index) => ({
    ...Object.fromEntries(order.slice(0, index).map(({ field }, i) => [field, values[i]])),
    [key.field]: { [(key.direction === 'asc') === before ? 'lt' : 'gt']: values[index] },
  }));
  const [lead] = order;
  const leadBound = lead && {
    [lead.field]: { [(lead.direction === 'asc') === before ? 'lte' : 'gte']: values[0] },
  };
  return { AND: [leadBound, { OR: alternatives }] };
}

function encodeCursor(list: List, mark: string, row: object): string {
  const values = list.order.map(({ field }) => (row as Record<string, unknown>)[field]);
  return Buffer.from(JSON.stringify([mark, ...values])).toString('base64url');
}

function decodeCursor(list: List, cursor: string): Value[] | null {
  try {
    const decoded: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (!Array.isArray(decoded) || decoded.length !== list.order.length + 1) return null;
    if (decoded[0] !== fingerprint(list)) return null;
    const values = list.order.map(({ kind }, index) => parseValue(kind, decoded[index + 1]));
    return values.every((value) => value !== null) ? values : null;
  } catch {
    return null;
  }
}

/** Ties a cursor to its list without showing the tenant. Not a secret: a forged one only moves within the list. */
function fingerprint(list: List): string {
  const order = list.order.map(({ field, direction }) => `${field} ${direction}`);
  return createHash('sha256')
    .update(JSON.stringify([list.name, order]))
    .digest('base64url')
    .slice(0, 11);
}

function parseValue(kind: Kind, value: unknown): Value | null {
  if (kind === 'int')
    return Number.isSafeInteger(value) && Math.abs(value as number) < 2 ** 31 ? (value as number) : null;
  if (kind === 'float') return Number.isFinite(value) ? (value as number) : null;
  if (typeof value !== 'string') return null;
  if (kind === 'uuid') return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value) ? value : null;
  // Other years are no ones that the server wrote, and Postgres would not read them.
  if (!/^\d{4}-/.test(value) || value.startsWith('0000')) return null;
  const date = new Date(value);
  return !Number.isNaN(date.getTime()) && date.toISOString() === value ? date : null;
}
