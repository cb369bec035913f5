import { type Database, runStatement } from '../database/client.js';
import { type Connection, type List, type PageRequest, toConnection } from '../pagination.js';
import { type Fit, parseRequest } from './pages.js';

/** A list that hangs on a parent, such as the messages of a thread. Names are of this program, never a caller's. */
export interface NestedList<Row> {
  readonly table: string;
  /** What is read of a row, in the words of SQL, under the names of the row's members; everything by default. */
  readonly columns?: string;
  /** The column that holds the parent, and its type. */
  readonly parent: { readonly column: string; readonly type: 'text' | 'uuid' | 'int' };
  /** The columns of the list's order, in the words of SQL. */
  readonly orderBy: readonly { readonly column: string; readonly direction: 'ASC' | 'DESC' }[];
  /** A column that must have a value, and its type; null takes every row. */
  readonly filter?: { readonly column: string; readonly type: string; readonly value: string | null };
  /** For rows that may be large. */
  readonly fit?: Fit<Row>;
}

const opposite = { ASC: 'DESC', DESC: 'ASC' } as const;

/**
 * The first (or last) page of a list for each of many parents, in one statement, so that a list of lists costs
 * no more statements than a list. For pages without a cursor, which are all that such a query can share.
 * @throws ParleyError `invalid_request` for sizes out of range
 */
export async function readNestedPages<Row extends object>(
  database: Database,
  tenantId: string,
  nested: NestedList<Row>,
  parents: readonly { readonly key: string | number; readonly list: List }[],
  request: PageRequest,
): Promise<Connection<Row>[]> {
  const [any] = parents;
  if (!any) return [];
  const page = parseRequest(any.list, request);
  const { table, columns = '*', parent, orderBy, filter } = nested;
  const order = orderBy.map(
    ({ column, direction }) => `${column} ${page.backward ? opposite[direction] : direction}`,
  );
  // Of a list the planner knows the length only while it plans, which would then be done each time.
  const [source, keys] =
    parents.length === 1
      ? [`(SELECT $2::${parent.type} AS key) AS p`, any.key]
      : [`unnest($2::${parent.type}[]) AS p (key)`, parents.map(({ key }) => key)];
  const isFiltered = filter !== undefined && filter.value !== null;
  const rows = await runStatement<Record<string, unknown>>(
    database,
    `SELECT p.key AS parent_key, row.*
     FROM ${source}
     CROSS JOIN LATERAL (
       SELECT ${columns} FROM ${table}
       WHERE tenant_id = $1 AND ${parent.column} = p.key
         ${isFiltered ? `AND ${filter.column} = $4::${filter.type}` : ''}
       ORDER BY ${order.join(', ')}
       LIMIT $3
     ) AS row`,
    tenantId,
    keys,
    page.limit + 1,
    ...(isFiltered ? [filter.value] : []),
  );
  // Columns that are spelt out are named as they are to be.
  const names = nested.columns === undefined ? camelCaseOf(rows[0]) : null;
  const groups = new Map<unknown, Row[]>(parents.map(({ key }) => [key, []]));
  for (const row of rows) groups.get(row.parent_key)?.push((names ? renamed(row, names) : row) as Row);
  const pages = parents.map(({ key }) => groups.get(key) ?? []);
  const sizes = nested.fit?.(pages.map((found) => found.slice(0, page.limit)));
  return parents.map(({ list }, index) => toConnection(list, page, pages[index] ?? [], sizes?.[index]));
}

/** The columns of rows that are all alike, and what Prisma calls them: `created_at` is `createdAt`. */
const camelCaseOf = (row: object = {}): [column: string, name: string][] =>
  Object.keys(row)
    .filter((column) => column !== 'parent_key')
    .map((column) => [column, column.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())]);

function renamed(row: Record<string, unknown>, names: readonly [string, string][]): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  for (const [column, name] of names) copy[name] = row[column];
  return copy;
}
