import type { z } from 'zod';
import { encodeId } from '../ids.js';
import { showContent } from '../services/attachments.js';
import type { Context } from '../services/context.js';
import type { EventType } from '../services/events.js';
import type { MessageWithLogs } from '../services/message-pages.js';
import type { StoredMessage } from '../services/messages.js';
import type { Thread } from '../services/threads.js';
import type { Webhook } from '../services/webhooks.js';
import type { WorkflowConversation } from '../services/workflow-conversations.js';
import type * as schemas from './schemas.js';

/** What was an object when it was stored, which the database's types do not know. */
const object = (json: unknown) => json as Record<string, unknown>;

/** The documented thread (design, section 5). */
export const threadJson = (
  thread: Omit<Thread, 'lastPosition' | 'replyChannel' | 'replyChannelKey' | 'activatedBy'>,
): z.input<typeof schemas.thread> => ({
  id: encodeId('thread', thread.id),
  workflowId: thread.workflowId,
  tenantId: thread.tenantId,
  participantId: thread.participantId,
  createdAt: thread.createdAt.toISOString(),
  updatedAt: thread.updatedAt.toISOString(),
  status: thread.status,
  metadata: object(thread.metadata),
});

/** The documented message with its log. */
export const messageJson = (
  message: MessageWithLogs,
  { attachmentLinks }: Context,
): z.input<typeof schemas.message> => ({
  id: encodeId('message', message.id),
  threadId: encodeId('thread', message.threadId),
  position: message.position,
  channel: message.channel,
  channelKey: message.channelKey,
  createdAt: message.createdAt.toISOString(),
  direction: message.direction,
  content: object(showContent(message, attachmentLinks.url)),
  status: message.status,
  metadata: object(message.metadata),
  logs: message.logs.map(({ timestamp, event, details }) => ({
    timestamp: timestamp.toISOString(),
    event,
    details: details === null ? null : object(details),
  })),
});

/** What `POST /inbound` and `POST /outbound` answer. */
export const storedMessageJson = ({
  threadId,
  messageId,
  position,
  createdAt,
}: StoredMessage): z.input<typeof schemas.storedMessage> => ({
  threadId: encodeId('thread', threadId),
  messageId: encodeId('message', messageId),
  position,
  createdAt: createdAt.toISOString(),
});

/** A webhook without its secret, which is only ever shown by the answer that generated it. */
export const webhookJson = ({ id, url, events, createdAt }: Webhook): z.input<typeof schemas.webhook> => ({
  id: encodeId('webhook', id),
  url,
  events: events as EventType[],
  createdAt: createdAt.toISOString(),
});

/** A workflow conversation as events carry it: the record of the workflow-conversation model document. */
export const workflowConversationJson = (
  conversation: WorkflowConversation,
): z.input<typeof schemas.workflowConversation> => ({
  id: conversation.id,
  tenantId: conversation.tenantId,
  workflowId: conversation.workflowId,
  agentProductId: conversation.agentProductId,
  userId: conversation.userId,
  configuration: object(conversation.configuration),
  running: conversation.running,
  createdAt: conversation.createdAt.toISOString(),
  updatedAt: conversation.updatedAt.toISOString(),
});
