import { encodeId } from '../ids.js';
import { showContent } from '../services/attachments.js';
import type { Context } from '../services/context.js';
import type { MessageWithLogs } from '../services/message-pages.js';
import type { StoredMessage } from '../services/messages.js';
import type { Thread } from '../services/threads.js';
import type { Webhook } from '../services/webhooks.js';
import type { WorkflowConversation } from '../services/workflow-conversations.js';

/** The documented thread (design, section 5). */
export const threadJson = (
  thread: Omit<Thread, 'lastPosition' | 'replyChannel' | 'replyChannelKey' | 'activatedBy'>,
) => ({
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
export const messageJson = (message: MessageWithLogs, { attachmentLinks }: Context) => ({
  id: encodeId('message', message.id),
  threadId: encodeId('thread', message.threadId),
  position: message.position,
  channel: message.channel,
  channelKey: message.channelKey,
  createdAt: message.createdAt.toISOString(),
  direction: message.direction,
  content: showContent(message, attachmentLinks.url),
  status: message.status,
  metadata: message.metadata,
  logs: message.logs.map(({ timestamp, event, details }) => ({
    timestamp: timestamp.toISOString(),
    event,
    details,
  })),
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

/** A workflow conversation as events carry it: the record of the workflow-conversation model document. */
export const workflowConversationJson = (conversation: WorkflowConversation) => ({
  id: conversation.id,
  tenantId: conversation.tenantId,
  workflowId: conversation.workflowId,
  agentProductId: conversation.agentProductId,
  userId: conversation.userId,
  configuration: conversation.configuration,
  running: conversation.running,
  createdAt: conversation.createdAt.toISOString(),
  updatedAt: conversation.updatedAt.toISOString(),
});
