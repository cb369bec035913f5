import DataLoader from 'dataloader';
import type { Connection, PageRequest } from '../pagination.js';
import type { Actor } from '../services/actor.js';
import { firstRunsOfConversations } from '../services/agent-product-runs.js';
import type { Context } from '../services/context.js';
import {
  attemptsOfDeliveries,
  conversationsByIds,
  conversationsOfWorkflows,
  deliveriesOfMessages,
  lastMessages,
  logsOfMessages,
  messagesByIds,
  productsByIds,
  threadsByIds,
  webhooksByIds,
} from '../services/lookups.js';
import type { Message } from '../services/message-pages.js';
import { firstThreadsOfWorkflows, type Thread } from '../services/threads.js';

/** A page without a cursor of a list that hangs on a parent. */
interface NestedPage<Parent> {
  readonly parent: Parent;
  readonly request: PageRequest;
}

/** Collects the lookups of one operation, so that a list of any length costs one statement per field. */
export function createLoaders(context: Context, actor: Actor) {
  const load =
    <Key, Value>(find: (context: Context, actor: Actor, keys: readonly Key[]) => Promise<Value[]>) =>
    (keys: readonly Key[]) =>
      find(context, actor, keys);

  /** Pages are read together when they are asked for with the same arguments, as those of one field are. */
  const nested = <Parent extends string | number, Row>(
    find: (
      context: Context,
      actor: Actor,
      parents: readonly Parent[],
      request: PageRequest,
    ) => Promise<Connection<Row>[]>,
  ) =>
    new DataLoader<NestedPage<Parent>, Connection<Row>, string>(
      async (keys) => {
        const pages = new Map<string, Connection<Row>>();
        for (const [sizes, group] of groupBySizes(keys)) {
          const parents = [...new Set(group.map(({ parent }) => parent))];
          const found = await find(context, actor, parents, group[0]?.request ?? {});
          parents.forEach((parent, index) => {
            const page = found[index];
            if (page) pages.set(`${sizes}/${parent}`, page);
          });
        }
        return keys.map(
          (key) => pages.get(`${sizesOf(key)}/${key.parent}`) ?? new Error('A page was not read'),
        );
      },
      { cacheKeyFn: (key) => `${sizesOf(key)}/${key.parent}` },
    );

  return {
    thread: new DataLoader(load(threadsByIds)),
    message: new DataLoader(load(messagesByIds)),
    webhook: new DataLoader(load(webhooksByIds)),
    conversation: new DataLoader(load(conversationsByIds)),
    conversationOfWorkflow: new DataLoader(load(conversationsOfWorkflows)),
    product: new DataLoader(load(productsByIds)),
    threadsOfWorkflow: nested(firstThreadsOfWorkflows),
    runsOfConversation: nested(firstRunsOfConversations),
    lastMessage: new DataLoader<Thread, Message | null, string>(load(lastMessages), {
      cacheKeyFn: ({ id }) => id,
    }),
    logs: new DataLoader(load(logsOfMessages)),
    deliveries: new DataLoader(load(deliveriesOfMessages)),
    attempts: new DataLoader(load(attemptsOfDeliveries)),
  };
}

const sizesOf = ({ request }: NestedPage<unknown>) => `${request.first ?? ''}:${request.last ?? ''}`;

function groupBySizes<Parent>(keys: readonly NestedPage<Parent>[]): Map<string, NestedPage<Parent>[]> {
  const groups = new Map<string, NestedPage<Parent>[]>();
  for (const key of keys) groups.set(sizesOf(key), [...(groups.get(sizesOf(key)) ?? []), key]);
  return groups;
}

export type Loaders = ReturnType<typeof createLoaders>;
