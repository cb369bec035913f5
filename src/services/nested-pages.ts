import { type Database, runStatement } from '../database/client.js';
import { invalidRequest } from '../errors.js';
import { type Connection, type List, type PageRequest, parsePage, toConnection } from '../pagination.js';

/** A list that hangs on a parent, such as the messages of a thread. Names are of this program, never a caller's. */
export interface NestedList {
  readonly table: string;
  /** The column that holds the parent, and its type. */
  readonly parent: { readonly column: string; readonly type: 'text' | 'uuid' | 'int' };
  /** The columns of the list's order, in the words of SQL. */
  readonly orderBy: readonly { readonly column: string; readonly direction: 'ASC' | 'DESC' }[];
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
  nested: NestedList,
  parents: readonly { readonly key: string | number; readonly list: List }[],
  request: PageRequest,
): Promise<Connection<Row>[]> {
  const [any] = parents;
  if (!any) return [];
  const parsed = parsePage(any.list, request);
  if ('faults' in parsed) throw invalidRequest(parsed.faults);
  const { page } = parsed;
  const { table, parent, orderBy } = nested;
  const order = orderBy.map(
    ({ column, direction }) => `${column} ${page.backward ? opposite[direction] : direction}`,
  );
  const rows = await runStatement<Record<string, unknown>>(
    database,
    `SELECT p.key AS parent_key, row.*
     FROM unnest($2::${parent.type}[]) AS p (key)
     CROSS JOIN LATERAL (
       SELECT * FROM ${table} WHERE tenant_id = $1 AND ${parent.column} = p.key ORDER BY ${order.join(', ')} LIMIT $3
     ) AS row`,
    tenantId,
    parents.map(({ key }) => key),
    page.limit + 1,
  );
  const groups = new Map<unknown, Row[]>(parents.map(({ key }) => [key, []]));
  for (const { parent_key, ...row } of rows) groups.get(parent_key)?.push(inCamelCase(row) as Row);
  return parents.map(({ key, list }) => toConnection(list, page, groups.get(key) ?? []));
}

/** Column names as Prisma has them: `created_at` is `createdAt`. */
function inCamelCase(row: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => [
      column.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  );
}
