import type { Appended } from '../../events/live-feed.js';
import type { LogEvent } from '../../events/log.js';
import type { NewMessage, StoredRow } from './statement.js';

type Entry = readonly [NewMessage, StoredRow];

/**
 * What the messages of a batch appended to the logs of their tenants, as a reader of the log would find it.
 * @param stored in the order of the batch, which is that of their events
 */
export function appendedBy(stored: ReadonlyMap<NewMessage, StoredRow>): Appended[] {
  const ofTenants = new Map<string, Entry[]>();
  for (const entry of stored) {
    const [{ tenantId }] = entry;
    const others = ofTenants.get(tenantId);
    if (others) others.push(entry);
    else ofTenants.set(tenantId, [entry]);
  }
  return [...ofTenants].map(([tenantId, entries]) => {
    const end = entries[0]?.[1].lastSequence ?? null;
    return { tenantId, end, events: end === null ? [] : eventsUpTo(end, entries) };
  });
}

/**
 * Those before the first that is left to the reader: a large message, or one that opens its thread (again), which
 * appends an event of the thread before its own.
 */
function eventsUpTo(end: bigint, entries: readonly Entry[]): LogEvent[] {
  const ofThreads = entries.filter(([, { activates }]) => activates).length;
  let sequence = end - BigInt(entries.length + ofThreads);
  const events: LogEvent[] = [];
  for (const [message, { threadId, position, createdAt, activates, content, metadata }] of entries) {
    if (activates || !content || !metadata) break;
    const { tenantId, messageId, workflowId, participantId, direction, channel, channelKey } = message;
    const status = 'sent';
    events.push({
      tenantId,
      sequence: ++sequence,
      type: 'message.created',
      occurredAt: createdAt,
      workflowId,
      participantId,
      threadId,
      messageId,
      workflowConversationId: null,
      // In the order of jsonb, by the length of the keys.
      data: { status, direction },
      message: {
        tenantId,
        id: messageId,
        threadId,
        position,
        direction,
        channel,
        channelKey,
        content,
        contentBytes: Buffer.byteLength(message.content),
        status,
        metadata,
        createdAt,
        logs: [{ timestamp: createdAt, event: 'created', details: null }],
      },
      thread: null,
      workflowConversation: null,
    });
  }
  return events;
}
