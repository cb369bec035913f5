import type { Database } from '../database/client.js';
import type { MessageLog } from '../generated/prisma/client.js';
import type { BareEvent, LogEvent } from './log.js';

/** What the contents of the messages of one read may come to. */
const MAX_BYTES_A_READ = 8 * 1024 * 1024;

/**
 * Loads what the events are about, all objects of a kind together. Contents may be large: those that there is room
 * for in any case come at once, the others when all sizes are known, and what there is no room for is left to the next
 * read, with its events.
 */
export async function withObjects(database: Database, events: readonly BareEvent[]): Promise<LogEvent[]> {
  const messages = idsByTenant(events, ({ messageId }) => messageId);
  const threads = idsByTenant(events, ({ type, threadId }) => (type.startsWith('thread.') ? threadId : null));
  const conversations = idsByTenant(events, ({ workflowConversationId }) => workflowConversationId);
  const [heads, logs, smallContents, threadRows, conversationRows] = await Promise.all([
    messages.length === 0
      ? []
      : database.message.findMany({ where: { OR: messages }, omit: { content: true } }),
    messages.length === 0
      ? []
      : database.messageLog.findMany({
          where: { OR: messages.map(({ tenantId, id }) => ({ tenantId, messageId: id })) },
          orderBy: { id: 'asc' },
        }),
    readContents(database, messages, Math.floor(MAX_BYTES_A_READ / events.length)),
    threads.length === 0 ? [] : database.thread.findMany({ where: { OR: threads } }),
    conversations.length === 0
      ? []
      : database.workflowConversation.findMany({ where: { OR: conversations } }),
  ]);
  const headById = new Map(heads.map((row) => [row.id, row]));
  const fitting = eventsThatFit(events, ({ messageId }) => headById.get(messageId ?? '')?.contentBytes ?? 0);
  const contentById = new Map(smallContents.map(({ id, content }) => [id, content]));
  const large = idsByTenant(fitting, ({ messageId }) =>
    headById.has(messageId ?? '') && !contentById.has(messageId ?? '') ? messageId : null,
  );
  for (const { id, content } of await readContents(database, large)) contentById.set(id, content);
  const logsById = new Map<string, MessageLog[]>(heads.map(({ id }) => [id, []]));
  for (const log of logs) logsById.get(log.messageId)?.push(log);
  const messageById = new Map(
    heads.flatMap((head) => {
      const content = contentById.get(head.id);
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

type Ids<Id> = { readonly tenantId: string; readonly id: { readonly in: Id[] } }[];

/** Of the messages that are not larger, where that is limited. */
const readContents = async (database: Database, messages: Ids<string>, maxBytes?: number) =>
  messages.length === 0
    ? []
    : database.message.findMany({
        where: { OR: messages, ...(maxBytes !== undefined && { contentBytes: { lte: maxBytes } }) },
        select: { id: true, content: true },
      });

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

function idsByTenant<Id>(events: readonly BareEvent[], idOf: (event: BareEvent) => Id | null): Ids<Id> {
  const groups = new Map<string, Set<Id>>();
  for (const event of events) {
    const id = idOf(event);
    if (id === null) continue;
    const group = groups.get(event.tenantId) ?? new Set();
    groups.set(event.tenantId, group.add(id));
  }
  return [...groups].map(([tenantId, ids]) => ({ tenantId, id: { in: [...ids] } }));
}
