import { z } from 'zod';
import { runStatement } from '../database/client.js';
import { notFound } from '../errors.js';
import { APPEND_EVENTS } from '../events/append.js';
import type { Thread } from '../generated/prisma/client.js';
import { decodeId } from '../ids.js';
import {
  type Connection,
  type List,
  type OrderKey,
  type PageRequest,
  pageSql,
  toConnection,
} from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { instant, jsonObject, parseInput, tenantFault, text } from './input.js';
import { readNestedPages } from './nested-pages.js';
import { parseRequest } from './pages.js';

export type { Thread } from '../generated/prisma/client.js';

const MAX_METADATA_BYTES = 16_384;

/** A caller's metadata: any JSON object up to 16 KB. */
export const metadata = jsonObject(MAX_METADATA_BYTES).meta({
  description: 'Anything that the caller wants to keep with it: a JSON object of up to 16 KB.',
});

const threadStatus = z
  .enum(['active', 'archived', 'closed'])
  .meta({ description: 'A new message makes an archived or closed thread active again.' });

/** A thread in the words of SQL. */
const THREAD = `id, tenant_id AS "tenantId", workflow_id AS "workflowId", participant_id AS "participantId",
  status::text AS status, metadata, created_at AS "createdAt", updated_at AS "updatedAt",
  last_position AS "lastPosition", reply_channel AS "replyChannel", reply_channel_key AS "replyChannelKey",
  activated_by AS "activatedBy"`;

const BY_ID = `SELECT ${THREAD} FROM conversation_thread WHERE tenant_id = $1 AND id = $2::uuid`;

/** The thread, or null when it is absent or another tenant's. */
export async function getThread(context: Context, actor: Actor, threadId: string): Promise<Thread | null> {
  requireScope(actor, 'conversations:read');
  const id = decodeId('thread', threadId);
  const [thread = null] = id ? await runStatement<Thread>(context.database, BY_ID, actor.tenantId, id) : [];
  return thread;
}

const filterText = text(0, 320);
const threadFilter = z.object({
  workflowId: filterText.nullish(),
  participantId: filterText.nullish(),
  status: threadStatus.nullish(),
  channel: filterText.nullish(),
  updatedAfter: instant().nullish(),
});

type ThreadFilter = z.output<typeof threadFilter>;

export interface ThreadOrder {
  readonly field: 'updatedAt' | 'createdAt';
  readonly direction: 'asc' | 'desc';
}

const latestFirst: ThreadOrder = { field: 'updatedAt', direction: 'desc' };

/** Threads by keyset, latest `updatedAt` first unless an order is given, ties by id. Filters are ANDed. */
export async function listThreads(
  context: Context,
  actor: Actor,
  input: { filter?: unknown; orderBy?: ThreadOrder | null | undefined },
  page: PageRequest,
) {
  requireScope(actor, 'conversations:read');
  const filter = parseInput(threadFilter, input.filter);
  return readThreads(
    context,
    actor,
    threadList(actor, 'threads', input.orderBy ?? latestFirst),
    filter,
    page,
  );
}

/** What a filter asks for of a value that stands in this place. */
const conditions: Readonly<Record<keyof ThreadFilter, (place: string) => string>> = {
  workflowId: (place) => `t.workflow_id = ${place}`,
  participantId: (place) => `t.participant_id = ${place}`,
  status: (place) => `t.status = ${place}`,
  updatedAfter: (place) => `t.updated_at > ${place}`,
  channel: (place) => `EXISTS (
    SELECT 1 FROM conversation_thread_channel c
    WHERE c.tenant_id = t.tenant_id AND c.thread_id = t.id AND c.channel = ${place})`,
};

const ORDER_COLUMNS = { updatedAt: 'updated_at', createdAt: 'created_at', id: 'id' };

/**
 * The threads of a tenant that a filter lets through, up to their order. By hand: dashboards ask for nothing as often,
 * and Prisma takes longer for it than Postgres.
 * @param values of the statement so far; those of the filter are added
 */
function threadsWhere({ tenantId }: Actor, filter: Partial<ThreadFilter>, values: unknown[]): string {
  const tenant = `t.tenant_id = $${values.push(tenantId)}`;
  const asked = Object.entries(filter).flatMap(([name, value]) =>
    value == null ? [] : conditions[name as keyof ThreadFilter](`$${values.push(value)}`),
  );
  return `SELECT ${THREAD} FROM conversation_thread t WHERE ${[tenant, ...asked].join(' AND ')}`;
}

async function readThreads(
  context: Context,
  actor: Actor,
  list: List,
  filter: Partial<ThreadFilter>,
  page: PageRequest,
): Promise<Connection<Thread>> {
  const asked = parseRequest(list, page);
  const values: unknown[] = [];
  const threads = threadsWhere(actor, filter, values);
  const rows = await runStatement<Thread>(
    context.database,
    `${threads} ${pageSql(list, asked, ORDER_COLUMNS, values)}`,
    ...values,
  );
  return toConnection(list, asked, rows);
}

function threadList(actor: Actor, name: string, { field, direction }: ThreadOrder): List {
  const order: OrderKey[] = [
    { field, kind: 'date', direction },
    { field: 'id', kind: 'uuid', direction },
  ];
  return { name: `${actor.tenantId}/${name}`, order };
}

/** A list of its own for each workflow, so that a cursor of one asks nothing of the others it is asked beside. */
const listOfWorkflow = (actor: Actor, workflowId: string) =>
  threadList(actor, `workflows/${workflowId}/threads`, latestFirst);

/** The threads of a workflow, latest `updatedAt` first. */
export async function listThreadsOfWorkflow(
  context: Context,
  actor: Actor,
  workflowId: string,
  page: PageRequest,
) {
  requireScope(actor, 'conversations:read');
  return readThreads(context, actor, listOfWorkflow(actor, workflowId), { workflowId }, page);
}

/** The threads of many workflows: for each the first page by `updatedAt`, in one statement. */
export async function firstThreadsOfWorkflows(
  context: Context,
  actor: Actor,
  workflowIds: readonly string[],
  request: PageRequest,
) {
  requireScope(actor, 'conversations:read');
  return readNestedPages<Thread>(
    context.database,
    actor.tenantId,
    {
      table: 'conversation_thread',
      parent: { column: 'workflow_id', type: 'text' },
      orderBy: [
        { column: 'updated_at', direction: 'DESC' },
        { column: 'id', direction: 'DESC' },
      ],
    },
    workflowIds.map((key) => ({ key, list: listOfWorkflow(actor, key) })),
    request,
  );
}

/** Query parameters of the documented list of threads. */
export const threadsByNumber = z.object({
  workflowId: filterText.meta({ description: 'Only threads of this workflow.' }).optional(),
  participantId: filterText.meta({ description: 'Only threads of this participant.' }).optional(),
  status: threadStatus.meta({ description: 'Only threads with this status.' }).optional(),
  page: wholeNumber(1, 1_000_000).default(1).meta({ description: 'Which page, from 1.' }),
  pageSize: wholeNumber(1, 100).default(20).meta({ description: 'How many threads a page has.' }),
});

/** Threads by page number, for the documented REST route. */
export async function listThreadsByNumber(context: Context, actor: Actor, input: unknown) {
  requireScope(actor, 'conversations:read');
  const { page, pageSize, ...filter } = parseInput(threadsByNumber, input);
  const values: unknown[] = [];
  const threads = threadsWhere(actor, filter, values);
  const rows = await runStatement<Thread>(
    context.database,
    `${threads} ORDER BY updated_at DESC, id DESC LIMIT $${values.push(pageSize + 1)} OFFSET $${values.push((page - 1) * pageSize)}`,
    ...values,
  );
  return { threads: rows.slice(0, pageSize), page, pageSize, hasMore: rows.length > pageSize };
}

/** A whole number given as text, as query parameters are. */
export function wholeNumber(minimum: number, maximum: number) {
  return z
    .string()
    .refine((digits) => /^\d{1,15}$/.test(digits), { error: 'must be a whole number', abort: true })
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, `must be from ${minimum} to ${maximum}`)
    .meta({ type: 'integer', minimum, maximum });
}

export const threadUpdate = z.object({ status: threadStatus.nullish(), metadata: metadata.nullish() }).meta({
  id: 'ThreadUpdate',
  description: 'What changes of a thread: at least one member. Given metadata replaces the old.',
});

/**
 * Sets status, metadata or both; given metadata replaces the old. Appends `thread.updated`, unless nothing
 * changes: then the thread is answered as it is.
 * @throws ParleyError `not_found`; `invalid_request` when neither is given.
 */
export async function updateThread(context: Context, actor: Actor, threadId: string, input: unknown) {
  requireScope(actor, 'conversations:write');
  const update = parseInput(threadUpdate, input, tenantFault(actor), (body) =>
    body.status == null && body.metadata == null
      ? [{ field: 'body', issue: 'needs at least one of status and metadata' }]
      : [],
  );
  const id = decodeId('thread', threadId);
  const [thread] = id
    ? await runStatement<Thread>(
        context.database,
        UPDATE_THREAD,
        actor.tenantId,
        id,
        update.status ?? null,
        update.metadata == null ? null : JSON.stringify(update.metadata),
      )
    : [];
  if (!thread) throw notFound('Thread');
  context.hints.ring();
  return thread;
}

/** Sets the status to archived; archiving an archived thread answers the same and changes nothing. */
export const archiveThread = (context: Context, actor: Actor, threadId: string) =>
  updateThread(context, actor, threadId, { status: 'archived' });

/** What changes anything is decided by the row as it is locked; `t` may be what another writer has changed since. */
const UPDATE_THREAD = `
WITH locked AS (
  SELECT * FROM conversation_thread WHERE tenant_id = $1 AND id = $2::uuid FOR NO KEY UPDATE
),
changed AS (
  UPDATE conversation_thread t
  SET status = coalesce($3::thread_status, t.status),
      metadata = coalesce($4::jsonb, t.metadata),
      updated_at = greatest(t.updated_at, now())
  FROM locked
  WHERE t.tenant_id = locked.tenant_id AND t.id = locked.id
    AND (locked.status, locked.metadata)
        IS DISTINCT FROM (coalesce($3::thread_status, locked.status), coalesce($4::jsonb, locked.metadata))
  RETURNING t.*
),
new_event AS (
  SELECT tenant_id, 1 AS ordinal, 'thread.updated' AS type, workflow_id, participant_id, id AS thread_id,
         NULL::uuid AS message_id, NULL::int AS workflow_conversation_id,
         jsonb_build_object('status', status, 'metadata', metadata) AS data
  FROM changed
),
${APPEND_EVENTS}
SELECT ${THREAD}
FROM (SELECT * FROM changed UNION ALL SELECT * FROM locked WHERE NOT EXISTS (SELECT 1 FROM changed)) AS t`;
