import type { Resolvers } from '../generated/resolvers.js';
import { encodeId } from '../ids.js';
import { requireScope } from '../services/actor.js';
import { showContent } from '../services/attachments.js';
import { getMessage } from '../services/message-heads.js';
import { updateMessageStatus } from '../services/message-status.js';
import { receiveInbound, sendOutbound } from '../services/messages.js';
import { searchMessages } from '../services/search.js';

export const message: Resolvers = {
  Query: {
    message: (_, { id }, { services, actor }) => getMessage(services, actor, id),
    searchMessages: async (_, { query, workflowId, ...page }, { services, actor }) => {
      const { edges, pageInfo } = await searchMessages(services, actor, { query, workflowId }, page);
      return { edges: edges.map((edge) => ({ ...edge, rank: edge.node.rank })), pageInfo };
    },
  },
  Mutation: {
    receiveInboundMessage: (_, { input }, { services, actor }) => receiveInbound(services, actor, input),
    sendOutboundMessage: (_, { input }, { services, actor }) => sendOutbound(services, actor, input),
    updateMessageStatus: async (_, { input: { messageId, ...update } }, { services, actor }) => {
      const { id, threadId } = await updateMessageStatus(services, actor, messageId, update);
      return { messageId: id, threadId };
    },
  },
  MessagePayload: {
    message: ({ message, messageId }, _, { loaders }) => message ?? loaders.message.load(messageId),
    thread: ({ threadId }, _, { loaders }) => loaders.thread.load(threadId),
  },
  Message: {
    id: ({ id }) => encodeId('message', id),
    threadId: ({ threadId }) => encodeId('thread', threadId),
    // Most contents came with the message, and then there is nothing to wait for.
    content: (message, _, context) => {
      const show = (content: unknown) =>
        showContent({ channel: message.channel, content }, context.services.attachmentLinks.url);
      return message.content ? show(message.content) : context.loaders.content.load(message).then(show);
    },
    thread: async ({ threadId }, _, { loaders }) => present(await loaders.thread.load(threadId)),
    logs: ({ id, logs }, _, { loaders }) => (logs ? [...logs] : loaders.logs.load(id)),
    signal: async ({ id }, _, { actor, loaders }) => {
      requireScope(actor, 'workflows:manage');
      return (await loaders.deliveries.load(id)).find(({ kind }) => kind === 'signal') ?? null;
    },
    deliveries: async ({ id }, _, { actor, loaders }) => {
      requireScope(actor, 'webhooks:manage');
      return (await loaders.deliveries.load(id)).filter(({ kind }) => kind === 'webhook');
    },
  },
};

/** What a field is about was deleted after its parent had been read. */
export class RowGone extends Error {
  constructor() {
    super('A row went away while it was being read');
  }
}

/**
 * For fields that cannot be null because a foreign key holds them; they vanish only with their parent.
 * @throws RowGone
 */
export function present<T>(value: T | null): T {
  if (value === null) throw new RowGone();
  return value;
}
