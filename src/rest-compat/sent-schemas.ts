import { z } from 'zod';
import { webhookEvents } from '../services/webhooks.js';
import {
  channel,
  channelKey,
  content,
  contentFitsChannel,
  direction,
  messageStatus,
  metadata,
  participantId,
  tenantId,
  threadStatus,
  time,
  workflowId,
} from './schema-parts.js';

// What Parley sends. Ids are plain text here, so that the documents' own examples stand.
const sentId = z.string();
const sent = {
  threadId: sentId.meta({ description: 'The thread.' }),
  messageId: sentId.meta({ description: 'The message.' }),
  tenantId,
  workflowId,
  participantId,
};
const sentMessage = { channel, channelKey, content, direction };
const signature = z.string().meta({
  description:
    'The hex HMAC-SHA256 of the body without this member, for old receivers. New ones check the header `webhook-signature`.',
});

/** "Workflow Signal" of the conversations document. */
export const signalBody = z
  .object({
    signalName: z.literal('InboundConversationMessage').meta({ description: 'Always this one.' }),
    ...sent,
    ...sentMessage,
    receivedAt: time('When the message was stored.'),
    metadata,
  })
  .meta({
    id: 'WorkflowSignal',
    description: 'Tells a workflow of an inbound message.',
    ...contentFitsChannel,
  });

/** The documented webhook payload, with `event`, `messageId` and `status` (design, section 7). */
export const messageWebhookBody = z
  .object({
    event: z.enum(webhookEvents.filter((type) => type.startsWith('message.'))).meta({
      description: 'What happened to the message.',
    }),
    ...sent,
    ...sentMessage,
    status: messageStatus,
    metadata,
    timestamp: time('When it happened.'),
    signature,
  })
  .meta({
    id: 'MessageWebhookBody',
    description: 'Tells a webhook of an outbound message.',
    ...contentFitsChannel,
  });

export const threadWebhookBody = z
  .object({
    event: z.enum(webhookEvents.filter((type) => type.startsWith('thread.'))).meta({
      description: 'What happened to the thread.',
    }),
    threadId: sent.threadId,
    tenantId,
    workflowId,
    participantId,
    status: threadStatus,
    metadata,
    timestamp: time('When it happened.'),
    signature,
  })
  .meta({ id: 'ThreadWebhookBody', description: 'Tells a webhook of a thread.' });

export const testWebhookBody = z
  .object({
    event: z.literal('webhook.test').meta({ description: 'Always this one.' }),
    webhookId: sentId.meta({ description: 'The webhook.' }),
    tenantId,
    timestamp: time('When the test was asked for.'),
    signature,
  })
  .meta({
    id: 'TestWebhookBody',
    description: 'Tries a webhook, when `sendTestWebhook` of GraphQL asks for it.',
  });
