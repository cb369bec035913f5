import { type Database, runStatement } from '../database/client.js';
import { rowsOfLists } from '../database/lists.js';
import type { Message, MessageLog } from '../generated/prisma/client.js';
import type { BareEvent, LogEvent } from './log.js';

/** What the contents of the messages of one read may come to. */
const MAX_BYTES_A_READ = 8 * 1024 * 1024;

const MESSAGES = `
SELECT m.id, m.tenant_id AS "tenantId", m.thread_id AS "threadId", m.position, m.direction::text AS direction, m.channel,
       m.channel_key AS "channelKey", m.status::text AS status, m.metadata, m.created_at AS "createdAt",
       m.content_bytes AS "contentBytes", CASE WHEN m.content_bytes <= $3 THEN m.content END AS content
FROM ${rowsOfLists('text, uuid')} AS i (tenant_id, id)
JOIN conversation_message m ON m.tenant_id = i.tenant_id AND m.id = i.id`;

const LOGS = `
SELECT l.tenant_id AS "tenantId", l.message_id AS "messageId", l.id, l.timestamp, l.event::text AS event, l.details
FROM ${rowsOfLists('text, uuid')} AS i (tenant_id, id)
JOIN conversation_message_log l ON l.tenant_id = i.tenant_id AND l.message_id = i.id
ORDER BY l.id`;

const CONTENTS = `
SELECT m.id, m.content
FROM ${rowsOfLists('text, uuid')} AS i (tenant_id, id)
JOIN conversation_message m ON m.tenant_id = i.tenant_id AND m.id = i.id`;

/**
 * Loads what the events are about, all objects of a kind together. Contents may be large: those that there is room
 * for in any case come at once, the others when all sizes are known, and what there is no room for is left to the next
 * read, with its events. Most are messages, and Prisma takes longer for those than Postgres.
 */
export async function withObjects(database: Database, events: readonly BareEvent[]): Promise<LogEvent[]> {
  const messages = idsOf(events, ({ messageId }) => messageId);
  const threads = idsOf(events, ({ type, threadId }) => (type.startsWith('thread.') ? threadId : null));
  const conversations = idsOf(events, ({ workflowConversationId }) => workflowConversationId);
  const [heads, logs, threadRows, conversationRows] = await Promise.all([
    read<Omit<Message, 'content'> & { content: Message['content'] | null }>(
      database,
      MESSAGES,
      messages,
      Math.floor(MAX_BYTES_A_READ / events.length),
    ),
    read<MessageLog>(database, LOGS, messages),
    threads.size === 0 ? [] : database.thread.findMany({ where: { OR: byTenant(threads) } }),
    conversations.size === 0
      ? []
      : database.workflowConversation.findMany({ where: { OR: byTenant(conversations) } }),
  ]);
  const headById = new Map(heads.map((row) => [row.id, row]));
  const fitting = eventsThatFit(events, ({ messageId }) => headById.get(messageId ?? '')?.contentBytes ?? 0);
  const large = idsOf(fitting, ({ messageId }) =>
    headById.get(messageId ?? '')?.content === null ? messageId : null,
  );
  const largeContents = await read<Pick<Message, 'id' | 'content'>>(database, CONTENTS, large);
  const largeById = new Map(largeContents.map(({ id, content }) => [id, content]));
  const logsById = new Map<string, MessageLog[]>(heads.map(({ id }) => [id, []]));
  for (const log of logs) logsById.get(log.messageId)?.push(log);
  const messageById = new Map(
    heads.flatMap((head) => {
      const content = head.content ?? largeById.get(head.id);
      return content === undefined
        ? []
        : [[head.id, { ...head, content, logs: logsById.get(head.id) ?? [] }] as const];
    }),
  );
  const threadById = new Map(threadRows.map((row) => [row.id, row]));
  const conversationById = new Map(conversationRows.map((row) => [row.id, row]));
  return fitting.map((event) => ({
    ...event,
    message: messageById.get(event.messageId ?? '') ?? null,
    thread: event.type.startsWith('thread.') ? (threadById.get(event.threadId ?? '') ?? null) : null,
    workflowConversation: conversationById.get(event.workflowConversationId ?? 0) ?? null,
  }));
}

/** What is to be read, each of it once, and whose it is. */
type Ids<Id> = ReadonlyMap<Id, string>;

function idsOf<Id>(events: readonly BareEvent[], idOf: (event: BareEvent) => Id | null): Ids<Id> {
  const ids = new Map<Id, string>();
  for (const event of events) {
    const id = idOf(event);
    if (id !== null) ids.set(id, event.tenantId);
  }
  return ids;
}

const read = async <Row>(database: Database, text: string, ids: Ids<string>, ...values: unknown[]) =>
  ids.size === 0 ? [] : runStatement<Row>(database, text, [...ids.values()], [...ids.keys()], ...values);

function byTenant<Id>(ids: Ids<Id>): { tenantId: string; id: { in: Id[] } }[] {
  const groups = new Map<string, Id[]>();
  for (const [id, tenantId] of ids) {
    const group = groups.get(tenantId);
    if (group) group.push(id);
    else groups.set(tenantId, [id]);
  }
  return [...groups].map(([tenantId, group]) => ({ tenantId, id: { in: group } }));
}

/** The events from the first one of each tenant on that there is room for; each tenant has an equal share of it. */
function eventsThatFit(events: readonly BareEvent[], bytesOf: (event: BareEvent) => number): BareEvent[] {
  const share = MAX_BYTES_A_READ / new Set(events.map(({ tenantId }) => tenantId)).size;
  const used = new Map<string, number>();
  return events.filter((event) => {
    const before = used.get(event.tenantId);
    const bytes = (before ?? 0) + bytesOf(event);
    used.set(event.tenantId, bytes);
    return before === undefined || bytes <= share;
  });
}
