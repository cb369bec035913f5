import { encodeEventCursor } from '../events/cursor.js';
import type { LogEvent } from '../events/log.js';
import type { Resolvers } from '../generated/resolvers.js';
import { eventCursor, followEvents } from '../services/events.js';
import { present } from './message.js';

export const event: Resolvers = {
  Query: {
    eventCursor: (_, __, { services, actor }) => eventCursor(services, actor),
  },
  Subscription: {
    messageAdded: {
      subscribe: async (_, input, { services, actor }) => {
        const events = await followEvents(services, actor, ['message.created'], input);
        return only(events, ({ message }) => message !== null);
      },
      resolve: (payload: LogEvent) => payload,
    },
    workflowConversationUpdated: {
      subscribe: async (_, { id, after }, { services, actor }) => {
        const types = ['conversation.created', 'conversation.updated', 'conversation.connected'] as const;
        const events = await followEvents(services, actor, types, { workflowConversationId: id, after });
        return only(events, ({ workflowConversation }) => workflowConversation !== null);
      },
      resolve: (payload: LogEvent) => payload,
    },
  },
  MessageEvent: {
    sequence: ({ sequence }) => Number(sequence),
    cursor: ({ tenantId, sequence }) => encodeEventCursor(tenantId, sequence),
    message: ({ message }) => present(message),
  },
  WorkflowConversationEvent: {
    sequence: ({ sequence }) => Number(sequence),
    cursor: ({ tenantId, sequence }) => encodeEventCursor(tenantId, sequence),
    workflowConversation: ({ workflowConversation }) => present(workflowConversation),
  },
};

/** The items of an iterator that a condition holds for; unlike a generator it can be returned while it waits. */
function only<T>(
  source: AsyncIterableIterator<T>,
  condition: (item: T) => boolean,
): AsyncIterableIterator<T> {
  return {
    async next() {
      for (;;) {
        const result = await source.next();
        if (result.done || condition(result.value)) return result;
      }
    },
    return: async () => (await source.return?.()) ?? { done: true, value: undefined },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
