import { encodeId } from '../ids.js';
import type { Message, MessageLog, StoredMessage } from '../services/messages.js';
import type { Thread } from '../services/threads.js';
import type { Webhook } from '../services/webhooks.js';

/** The documented thread (design, section 5). */
export const threadJson = (thread: Thread) => ({
  id: encodeId('thread', thread.id),
  workflowId: thread.workflowId,
  tenantId: thread.tenantId,
  participantId: thread.participantId,
  createdAt: thread.createdAt.toISOString(),
  updatedAt: thread.updatedAt.toISOString(),
  status: thread.status,
  metadata: thread.metadata,
});

/** The documented message with its log. */
export const messageJson = (message: Message, logs: readonly MessageLog[]) => ({
  id: encodeId('message', message.id),
  threadId: encodeId('thread', message.threadId),
  position: message.position,
  channel: message.channel,
  channelKey: message.channelKey,
  createdAt: message.createdAt.toISOString(),
  direction: message.direction,
  content: message.content,
  status: message.status,
  metadata: message.metadata,
  logs: logs.map(({ timestamp, event, details }) => ({ timestamp: timestamp.toISOString(), event, details })),
});

/** What `POST /inbound` and `POST /outbound` answer. */
export const storedMessageJson = ({ threadId, messageId, position, createdAt }: StoredMessage) => ({
  threadId: encodeId('thread', threadId),
  messageId: encodeId('message', messageId),
  position,
  createdAt: createdAt.toISOString(),
});

/** A webhook without its secret, which is only ever shown by the answer that generated it. */
export const webhookJson = ({ id, url, events, createdAt }: Webhook) => ({
  id: encodeId('webhook', id),
  url,
  events,
  createdAt: createdAt.toISOString(),
});
