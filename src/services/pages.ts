import { invalidRequest } from '../errors.js';
import {
  type Connection,
  type List,
  type Page,
  type PageRequest,
  pageQuery,
  parsePage,
  toConnection,
} from '../pagination.js';

/** How many rows of each page there is room for, when rows may be large. Every page keeps its first one. */
export type Fit<Row> = (pages: readonly (readonly Row[])[]) => readonly number[];

/**
 * Reads one page of a list.
 * @param load runs the query; what it adds to `where` is the tenant and the filters of the list
 * @param fitting for lists of large rows
 * @throws ParleyError `invalid_request` for sizes out of range and cursors of another list or tenant
 */
export async function readPage<Row extends object>(
  list: List,
  request: PageRequest,
  load: (query: ReturnType<typeof pageQuery>) => Promise<Row[]>,
  fitting?: Fit<Row>,
): Promise<Connection<Row>> {
  const page = parseRequest(list, request);
  const rows = await load(pageQuery(list, page));
  return toConnection(list, page, rows, fitting?.([rows.slice(0, page.limit)])[0]);
}

/** The page that is asked for. @throws ParleyError `invalid_request` */
export function parseRequest(list: List, request: PageRequest): Page {
  const parsed = parsePage(list, request);
  if ('faults' in parsed) throw invalidRequest(parsed.faults);
  return parsed.page;
}

/** Newest first by UUIDv7, which sorts by the time it was made. */
export const newestFirst = [{ field: 'id', kind: 'uuid', direction: 'desc' }] as const;

/** Newest first where ids are integers, which do not tell the time. */
export const newestByCreation = [
  { field: 'createdAt', kind: 'date', direction: 'desc' },
  { field: 'id', kind: 'int', direction: 'desc' },
] as const;
