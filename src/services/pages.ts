import { invalidRequest } from '../errors.js';
import {
  type Connection,
  type List,
  type PageRequest,
  pageQuery,
  parsePage,
  toConnection,
} from '../pagination.js';

/**
 * Reads one page of a list.
 * @param load runs the query; what it adds to `where` is the tenant and the filters of the list
 * @throws ParleyError `invalid_request` for sizes out of range and cursors of another list or tenant
 */
export async function readPage<Row extends object>(
  list: List,
  request: PageRequest,
  load: (query: ReturnType<typeof pageQuery>) => Promise<Row[]>,
): Promise<Connection<Row>> {
  const parsed = parsePage(list, request);
  if ('faults' in parsed) throw invalidRequest(parsed.faults);
  return toConnection(list, parsed.page, await load(pageQuery(list, parsed.page)));
}

/** Newest first by UUIDv7, which sorts by the time it was made. */
export const newestFirst = [{ field: 'id', kind: 'uuid', direction: 'desc' }] as const;

/** Newest first where ids are integers, which do not tell the time. */
export const newestByCreation = [
  { field: 'createdAt', kind: 'date', direction: 'desc' },
  { field: 'id', kind: 'int', direction: 'desc' },
] as const;
