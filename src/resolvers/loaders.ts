import DataLoader from 'dataloader';
import type { Actor } from '../services/actor.js';
import type { Context } from '../services/context.js';
import {
  attemptsOfDeliveries,
  deliveriesOfMessages,
  lastMessages,
  logsOfMessages,
  messagesByIds,
  threadsByIds,
  webhooksByIds,
} from '../services/lookups.js';
import type { Message } from '../services/messages.js';
import type { Thread } from '../services/threads.js';

/** Collects the lookups of one operation, so that a list of any length costs one statement per field. */
export function createLoaders(context: Context, actor: Actor) {
  const load =
    <Key, Value>(find: (context: Context, actor: Actor, keys: readonly Key[]) => Promise<Value[]>) =>
    (keys: readonly Key[]) =>
      find(context, actor, keys);
  return {
    thread: new DataLoader(load(threadsByIds)),
    message: new DataLoader(load(messagesByIds)),
    webhook: new DataLoader(load(webhooksByIds)),
    lastMessage: new DataLoader<Thread, Message | null, string>(load(lastMessages), {
      cacheKeyFn: ({ id }) => id,
    }),
    logs: new DataLoader(load(logsOfMessages)),
    deliveries: new DataLoader(load(deliveriesOfMessages)),
    attempts: new DataLoader(load(attemptsOfDeliveries)),
  };
}

export type Loaders = ReturnType<typeof createLoaders>;
