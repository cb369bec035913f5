import { z } from 'zod';
import { eventTypes } from '../services/events.js';
import { webhookEvents } from '../services/webhooks.js';
import type { SuccessfulAnswers } from './route.js';
import {
  anyObject,
  channel,
  channelKey,
  content,
  contentFitsChannel,
  direction,
  hasMore,
  idOf,
  messageId,
  messageStatus,
  metadata,
  page,
  pageSize,
  participantId,
  position,
  tenantId,
  threadId,
  threadStatus,
  time,
  workflowId,
} from './schema-parts.js';

/** The documented thread (design, section 5). */
export const thread = z
  .object({
    id: threadId,
    workflowId,
    tenantId,
    participantId,
    createdAt: time('When its first message came.'),
    updatedAt: time('When it last got a message or was changed.'),
    status: threadStatus,
    metadata,
  })
  .meta({ id: 'Thread', description: 'The conversation of one participant with one workflow.' });

const messageLog = z
  .object({
    timestamp: time('When it happened.'),
    event: z
      .enum(['created', 'sent', 'delivered', 'read', 'failed'])
      .meta({ description: 'What happened to the message.' }),
    details: anyObject.nullable().meta({ description: 'More about it, if there is more.' }),
  })
  .meta({ id: 'MessageLog', description: 'One entry of the log of a message.' });

/** The documented message with its log. */
export const message = z
  .object({
    id: messageId,
    threadId,
    position,
    channel,
    channelKey,
    createdAt: time('When it was stored.'),
    direction,
    content,
    status: messageStatus,
    metadata,
    logs: z.array(messageLog).meta({ description: 'What happened to it, the oldest first.' }),
  })
  .meta({
    id: 'Message',
    description: 'A message, to the workflow or to the participant.',
    ...contentFitsChannel,
  });

export const storedMessage = z
  .object({ threadId, messageId, position, createdAt: time('When it was stored.') })
  .meta({ id: 'StoredMessage', description: 'Where a message was stored. It is committed.' });

export const threadPage = z
  .object({
    threads: z.array(thread).meta({ description: 'The last changed first.' }),
    page,
    pageSize,
    hasMore,
  })
  .meta({ id: 'ThreadPage', description: 'A page of threads.' });

export const threadWithMessages = z
  .object({
    ...thread.shape,
    messages: z.array(message).meta({ description: 'A page of its messages, by position.' }),
    messagesPage: z.object({ page, pageSize, hasMore }).meta({ description: 'Which page of its messages.' }),
  })
  .meta({ id: 'ThreadWithMessages', description: 'A thread and a page of its messages.' });

export const messagePage = z
  .object({ messages: z.array(message).meta({ description: 'By position.' }), hasMore })
  .meta({ id: 'MessagePage', description: 'Messages of a thread.' });

const deleted = z.literal(true).meta({ description: 'It is gone.' });

export const deletedThread = z
  .object({ id: threadId, deleted })
  .meta({ id: 'DeletedThread', description: 'A thread that was deleted for good.' });

/** What `DELETE /threads/{threadId}` answers, by what was asked. */
export const archivedOrDeleted = z
  .union([thread, deletedThread])
  .meta({ description: 'The archived thread; with `permanent=true` the id of the deleted one.' });

export const webhook = z
  .object({
    id: idOf('webhook', 'The webhook.'),
    url: z
      .string()
      .meta({ description: 'Where events are posted to.', examples: ['https://example.com/webhook'] }),
    events: z.array(z.enum(webhookEvents)).meta({ description: 'What it is sent.' }),
    createdAt: time('When it was registered. It gets nothing older.'),
  })
  .meta({ id: 'Webhook', description: 'A URL that gets events. Its secret is never shown.' });

export const registeredWebhook = z
  .object({
    ...webhook.shape,
    secret: z.string().optional().meta({ description: 'Only when it was generated, and only this once.' }),
  })
  .meta({ id: 'RegisteredWebhook', description: 'A new webhook.' });

export const webhookList = z
  .object({ webhooks: z.array(webhook).meta({ description: 'The newest first.' }) })
  .meta({ id: 'WebhookList', description: 'All webhooks of the tenant.' });

export const deletedWebhook = z
  .object({ id: webhook.shape.id, deleted })
  .meta({ id: 'DeletedWebhook', description: 'A webhook that was deleted.' });

export const workflowConversation = z
  .object({
    id: z.int().meta({ description: 'The workflow conversation.' }),
    tenantId,
    workflowId,
    agentProductId: z.int().nullable().meta({ description: 'The agent product that it runs.' }),
    userId: z.int().nullable().meta({ description: 'The user that it runs for.' }),
    configuration: anyObject.meta({ description: 'How it is configured.' }),
    running: z.boolean().meta({ description: 'Whether `configuration.running` is `true`.' }),
    createdAt: time('When it was created.'),
    updatedAt: time('When it was last changed.'),
  })
  .meta({ id: 'WorkflowConversation', description: 'The record of a workflow in use.' });

/** The data of one server-sent event. */
export const logEvent = z
  .object({
    sequence: z
      .int()
      .min(1)
      .meta({ description: 'The number in the log of the tenant: 1, 2, 3 … without gaps.' }),
    type: z.enum(eventTypes).meta({ description: 'What happened.' }),
    occurredAt: time('When it happened.'),
    workflowId: workflowId.nullable(),
    participantId: participantId.nullable(),
    threadId: threadId.nullable(),
    messageId: messageId.nullable(),
    workflowConversationId: z.int().nullable().meta({ description: 'The workflow conversation.' }),
    data: anyObject.nullable().meta({ description: 'What the event itself tells.' }),
    message: message.nullable().optional(),
    thread: thread.nullable().optional(),
    workflowConversation: workflowConversation.nullable().optional(),
  })
  .meta({
    id: 'Event',
    description: 'One entry of the log, with the object as it is now; null when that is gone.',
  });

export const file: SuccessfulAnswers = {
  200: {
    description: 'The file.',
    headers: ['ETag', 'Accept-Ranges', 'Content-Disposition'],
    content: { '*/*': { schema: { type: 'string', format: 'binary' } } },
  },
  206: {
    description: 'The part that was asked for with `Range`.',
    headers: ['ETag', 'Accept-Ranges', 'Content-Disposition', 'Content-Range'],
    content: { '*/*': { schema: { type: 'string', format: 'binary' } } },
  },
  304: { description: 'The caller has these bytes already.', headers: ['ETag'] },
  416: { description: 'The file has no such part.', headers: ['Content-Range'] },
};

export const eventStream: SuccessfulAnswers = {
  200: {
    description: 'Events as they come, as `text/event-stream`. The `data` of each is an `Event` in JSON.',
    content: {
      'text/event-stream': {
        schema: {
          type: 'string',
          description: 'The `data` of each event.',
          contentMediaType: 'application/json',
          contentSchema: { $ref: '#/$defs/Event' },
        },
      },
    },
  },
};
