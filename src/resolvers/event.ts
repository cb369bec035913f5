import { encodeEventCursor } from '../events/cursor.js';
import type { BareEvent, LogEvent } from '../events/log.js';
import type { Resolvers } from '../generated/resolvers.js';
import { encodeId } from '../ids.js';
import {
  type EventType,
  eventCursor,
  followEvents,
  type LiveEvents,
  listEvents,
} from '../services/events.js';
import type { GraphQLContext } from './context.js';
import { present } from './message.js';

/** Where an event stands in the log. */
const place = {
  sequence: ({ sequence }: BareEvent) => Number(sequence),
  cursor: ({ tenantId, sequence }: BareEvent) => encodeEventCursor(tenantId, sequence),
};

export const event: Resolvers = {
  Query: {
    eventCursor: (_, __, { services, actor }) => eventCursor(services, actor),
    events: (_, { filter, ...page }, { services, actor }) =>
      listEvents(services, actor, { ...filter, ...page }),
  },
  Subscription: {
    messageAdded: {
      subscribe: (_, input, context) =>
        follow(context, ['message.created'], input, ({ message }) => message !== null),
      resolve: (payload: LogEvent) => payload,
    },
    messageUpdated: {
      subscribe: (_, input, context) =>
        follow(context, ['message.updated'], input, ({ message }) => message !== null),
      resolve: (payload: LogEvent) => payload,
    },
    threadUpdated: {
      subscribe: (_, input, context) =>
        follow(context, ['thread.created', 'thread.updated'], input, ({ thread }) => thread !== null),
      resolve: (payload: LogEvent) => payload,
    },
    workflowConversationUpdated: {
      subscribe: (_, { id, after }, context) =>
        follow(
          context,
          ['conversation.created', 'conversation.updated', 'conversation.connected'],
          { workflowConversationId: id, after },
          ({ workflowConversation }) => workflowConversation !== null,
        ),
      resolve: (payload: LogEvent) => payload,
    },
    events: {
      subscribe: (_, { filter, after }, { services, actor }) =>
        followEvents(services, actor, null, { ...filter, after }),
      resolve: (payload: LogEvent) => payload,
    },
  },
  Event: {
    ...place,
    threadId: ({ threadId }) => threadId && encodeId('thread', threadId),
    messageId: ({ messageId }) => messageId && encodeId('message', messageId),
    // What a subscription brings has its objects; of a page they are loaded, as far as they are asked for.
    thread: (event, _, { loaders }) =>
      event.thread ?? (event.threadId ? loaders.thread.load(event.threadId) : null),
    message: (event, _, { loaders }) =>
      event.message ?? (event.messageId ? loaders.message.load(event.messageId) : null),
    workflowConversation: (event, _, { loaders }) =>
      event.workflowConversation ??
      (event.workflowConversationId === null
        ? null
        : loaders.conversation.load(event.workflowConversationId)),
  },
  MessageEvent: { ...place, message: ({ message }) => present(message) },
  ThreadEvent: { ...place, thread: ({ thread }) => present(thread) },
  WorkflowConversationEvent: {
    ...place,
    workflowConversation: ({ workflowConversation }) => present(workflowConversation),
  },
};

/** The events of these types whose object is still there. */
const follow = (
  { services, actor }: GraphQLContext,
  types: readonly EventType[],
  input: object,
  isShown: (event: LogEvent) => boolean,
): Promise<LiveEvents> => followEvents(services, actor, types, input, { isShown });
