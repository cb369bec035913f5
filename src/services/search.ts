import { z } from 'zod';
import { sqlState } from '../database/client.js';
import { invalidRequest } from '../errors.js';
import { type Connection, type List, type PageRequest, toConnection } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { parseInput, text } from './input.js';
import { fitContents, MESSAGE_HEAD, type MessageHead } from './message-heads.js';
import { parseRequest } from './pages.js';

/** Of a word that more messages have, the newest are ranked. */
const MAX_RANKED = 1_000;
/** A search that takes longer is given up, so that a few of them do not hold up everybody else. */
const TIMEOUT_MS = 5_000;
const QUERY_CANCELED = '57014';

const input = z.object({ query: text(1, 256), workflowId: text(0, 128).nullish() });

/**
 * The newest matches are found by the index that begins with the tenant, then ranked, then paged by (rank, id).
 * `websearch_to_tsquery` takes any text for a query: there is none that it refuses.
 */
const searchStatement = (ofWorkflow: string) => `
WITH newest AS MATERIALIZED (
  SELECT m.id, m.search
  FROM conversation_message m
  WHERE m.tenant_id = $1 AND m.search @@ websearch_to_tsquery('simple', $2) ${ofWorkflow}
  ORDER BY m.id DESC
  LIMIT $3
),
ranked AS (
  SELECT id AS message_id, ts_rank_cd(search, websearch_to_tsquery('simple', $2))::float8 AS rank FROM newest
),
page AS (
  SELECT * FROM ranked
  WHERE $4::float8 IS NULL OR (rank, message_id) < ($4, $5::uuid)
  ORDER BY rank DESC, message_id DESC
  LIMIT $6
)
SELECT ${MESSAGE_HEAD}, rank
FROM page JOIN conversation_message ON tenant_id = $1 AND id = message_id
ORDER BY rank DESC, message_id DESC`;

export const SEARCH = searchStatement('');
const SEARCH_WORKFLOW = searchStatement(`AND EXISTS (
    SELECT 1 FROM conversation_thread t
    WHERE t.tenant_id = m.tenant_id AND t.id = m.thread_id AND t.workflow_id = $7
  )`);

/** For this transaction only. Which way is fast depends on the words, so the statement is planned for them. */
export const SETTINGS = `
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('statement_timeout', '${TIMEOUT_MS}', true)`;

type Match = MessageHead & { readonly rank: number };

/**
 * Messages by the words of their content: best first, ties newest first. At most the newest 1,000 matches are
 * ranked. A text without any word in it finds nothing.
 * @throws ParleyError `invalid_request` also when the search takes too long
 */
export async function searchMessages(
  context: Context,
  actor: Actor,
  given: unknown,
  request: Pick<PageRequest, 'first' | 'after'>,
): Promise<Connection<Match>> {
  requireScope(actor, 'conversations:read');
  const { query, workflowId } = parseInput(input, given);
  const { tenantId } = actor;
  const list: List = {
    name: JSON.stringify([tenantId, 'search', query, workflowId ?? null]),
    order: [
      { field: 'rank', kind: 'float', direction: 'desc' },
      { field: 'id', kind: 'uuid', direction: 'desc' },
    ],
  };
  const page = parseRequest(list, request);
  const [rank, id] = page.after ?? [null, null];
  const values = [tenantId, query, MAX_RANKED, rank, id, page.limit + 1];
  const { database } = context;
  const [, matches] = await database
    .$transaction([
      database.$queryRawUnsafe(SETTINGS),
      workflowId == null
        ? database.$queryRawUnsafe<Match[]>(SEARCH, ...values)
        : database.$queryRawUnsafe<Match[]>(SEARCH_WORKFLOW, ...values, workflowId),
    ])
    .catch((error: unknown) => {
      if (sqlState(error) !== QUERY_CANCELED) throw error;
      throw invalidRequest([{ field: 'query', issue: 'takes too long to search for; use rarer words' }]);
    });
  return toConnection(list, page, matches, fitContents([matches.slice(0, page.limit)])[0]);
}
