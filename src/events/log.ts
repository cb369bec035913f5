import { type Database, runStatement } from '../database/client.js';
import { rowsOfLists } from '../database/lists.js';
import type { Message, MessageLog, Thread, WorkflowConversation } from '../generated/prisma/client.js';
import type { EventType } from './append.js';
import { cursorExpired } from './cursor.js';
import { withObjects } from './objects.js';

/** What is shown of an entry of a message's log. */
export type MessageLogEntry = Pick<MessageLog, 'timestamp' | 'event' | 'details'>;

/** An entry of a tenant's log, with the objects it is about as they are now (null when they are gone). */
export interface LogEvent {
  readonly tenantId: string;
  readonly sequence: bigint;
  readonly type: EventType;
  readonly occurredAt: Date;
  readonly workflowId: string | null;
  readonly participantId: string | null;
  readonly threadId: string | null;
  readonly messageId: string | null;
  readonly workflowConversationId: number | null;
  readonly data: unknown;
  readonly message: (Message & { readonly logs: readonly MessageLogEntry[] }) | null;
  /** Of thread events only. */
  readonly thread: Thread | null;
  readonly workflowConversation: WorkflowConversation | null;
}

/** Which events; all that is given must hold. The same rule is applied in memory and in the database. */
export interface EventFilter {
  readonly types?: readonly EventType[] | undefined;
  readonly threadId?: string | undefined;
  readonly workflowId?: string | undefined;
  readonly participantId?: string | undefined;
  readonly workflowConversationId?: number | undefined;
}

export const matches = (filter: EventFilter, event: LogEvent): boolean =>
  (filter.types === undefined || filter.types.includes(event.type)) &&
  (filter.threadId === undefined || filter.threadId === event.threadId) &&
  (filter.workflowId === undefined || filter.workflowId === event.workflowId) &&
  (filter.participantId === undefined || filter.participantId === event.participantId) &&
  (filter.workflowConversationId === undefined ||
    filter.workflowConversationId === event.workflowConversationId);

const COLUMNS = `
e.tenant_id AS "tenantId", e.sequence, e.type, e.occurred_at AS "occurredAt", e.workflow_id AS "workflowId",
e.participant_id AS "participantId", e.thread_id AS "threadId", e.message_id AS "messageId",
e.workflow_conversation_id AS "workflowConversationId", e.data`;

const READ_NEW = `
SELECT ${COLUMNS}
FROM ${rowsOfLists('text, bigint')} AS r (tenant_id, after)
CROSS JOIN LATERAL (
  SELECT * FROM event e WHERE e.tenant_id = r.tenant_id AND e.sequence > r.after ORDER BY e.sequence LIMIT $3
) e
ORDER BY e.tenant_id, e.sequence`;

/** What was read of the log. There may be more than was asked for, or than there was room for. */
export interface EventRead {
  readonly events: LogEvent[];
  readonly hasMore: boolean;
}

/** What came after each tenant's position, at most `limit` of each, in order; large messages make it less. */
export async function readNewEvents(
  database: Database,
  positions: ReadonlyMap<string, bigint>,
  limit: number,
): Promise<EventRead> {
  if (positions.size === 0) return { events: [], hasMore: false };
  const rows = await runStatement<BareEvent>(
    database,
    READ_NEW,
    [...positions.keys()],
    [...positions.values()],
    limit,
  );
  const events = await withObjects(database, rows);
  return { events, hasMore: rows.length >= limit || events.length < rows.length };
}

/** One row says where the log begins, also when no event matches: as it was when the events were read. */
const READ_RANGE = `
SELECT s.start AS "logStart", e.*
FROM (SELECT coalesce((SELECT sequence FROM event_log_start WHERE tenant_id = $1), 0) AS start) s
LEFT JOIN LATERAL (
  SELECT ${COLUMNS}
  FROM event e
  WHERE e.tenant_id = $1 AND e.sequence > $2 AND e.sequence <= $3
    AND ($4::text[] IS NULL OR e.type = ANY ($4))
    AND ($5::uuid IS NULL OR e.thread_id = $5)
    AND ($6::text IS NULL OR e.workflow_id = $6)
    AND ($7::text IS NULL OR e.participant_id = $7)
    AND ($8::int IS NULL OR e.workflow_conversation_id = $8)
  ORDER BY e.sequence
  LIMIT $9
) e ON true
ORDER BY e.sequence`;

/** Behind `after`, up to and including `upTo`. */
export interface EventRange {
  readonly after: bigint;
  readonly upTo: bigint;
}

/**
 * The matching events of the range, at most `limit`, in order; large messages make it less.
 * @throws ParleyError `cursor_expired` when a part of the range was trimmed away
 */
export async function readEvents(
  database: Database,
  tenantId: string,
  range: EventRange,
  filter: EventFilter,
  limit: number,
): Promise<EventRead> {
  const rows = await readBareEvents(database, tenantId, range, filter, limit);
  const events = await withObjects(database, rows);
  return { events, hasMore: rows.length >= limit || events.length < rows.length };
}

/**
 * The same without the objects that they are about.
 * @throws ParleyError `cursor_expired` when a part of the range was trimmed away
 */
export async function readBareEvents(
  database: Database,
  tenantId: string,
  range: EventRange,
  filter: EventFilter,
  limit: number,
): Promise<BareEvent[]> {
  const { types = null, threadId = null, workflowId = null, participantId = null } = filter;
  const { workflowConversationId = null } = filter;
  const rows = await runStatement<BareEvent & { readonly logStart: bigint }>(
    database,
    READ_RANGE,
    tenantId,
    range.after,
    range.upTo,
    types,
    threadId,
    workflowId,
    participantId,
    workflowConversationId,
    limit,
  );
  const start = rows[0]?.logStart ?? 0n;
  if (start > range.after) throw cursorExpired(tenantId, start);
  return rows.filter(({ sequence }) => sequence !== null);
}

/** The number of the tenant's last event: the present end of its log. */
export async function lastSequence(database: Database, tenantId: string): Promise<bigint> {
  const counter = await database.tenantCounter.findUnique({ where: { tenantId } });
  return counter?.lastSequence ?? 0n;
}

const BOUNDS = `
SELECT coalesce((SELECT sequence FROM event_log_start WHERE tenant_id = $1), 0) AS start,
       coalesce((SELECT last_sequence FROM tenant_counter WHERE tenant_id = $1), 0) AS "end"`;

/** Which part of a tenant's log there is: the events behind `start`, up to and including `end`. */
export interface LogBounds {
  readonly start: bigint;
  readonly end: bigint;
}

export async function logBounds(database: Database, tenantId: string): Promise<LogBounds> {
  const [bounds] = await runStatement<LogBounds>(database, BOUNDS, tenantId);
  return bounds ?? { start: 0n, end: 0n };
}

/** An entry of the log as it is kept. */
export type BareEvent = Omit<LogEvent, 'message' | 'thread' | 'workflowConversation'>;
