import type { Resolvers } from '../generated/resolvers.js';
import { encodeId } from '../ids.js';
import { requireScope } from '../services/actor.js';
import { listMessages } from '../services/message-heads.js';
import { deleteThread } from '../services/thread-deletion.js';
import { archiveThread, getThread, listThreads, updateThread } from '../services/threads.js';
import { markThreadRead } from '../services/unread.js';
import { hasCursor } from './pages.js';

export const thread: Resolvers = {
  Query: {
    thread: (_, { id }, { services, actor }) => getThread(services, actor, id),
    threads: (_, { filter, orderBy, ...page }, { services, actor }) =>
      listThreads(services, actor, { filter, orderBy }, page),
  },
  Mutation: {
    updateThread: async (_, { input: { id, ...update } }, { services, actor }) => ({
      thread: await updateThread(services, actor, id, update),
    }),
    archiveThread: async (_, { input }, { services, actor }) => ({
      thread: await archiveThread(services, actor, input.id),
    }),
    markThreadRead: async (_, { input }, { services, actor }) => ({
      thread: await markThreadRead(services, actor, input),
    }),
    deleteThread: async (_, { input }, { services, actor }) => ({
      deletedThreadId: await deleteThread(services, actor, input.id),
    }),
  },
  Thread: {
    id: ({ id }) => encodeId('thread', id),
    messages: ({ id }, { direction, ...page }, { services, actor, loaders }) =>
      hasCursor(page)
        ? listMessages(services, actor, id, direction ?? null, page)
        : loaders.messagesOfThread.load(id, { ...page, direction: direction ?? null }),
    lastMessage: (parent, _, { actor, loaders }) => {
      requireScope(actor, 'conversations:read');
      return loaders.lastMessage.load(parent);
    },
    messageCount: ({ lastPosition }) => lastPosition,
    unreadCount: (parent, _, { loaders }) => loaders.unreadCount.load(parent),
  },
};
