import DataLoader from 'dataloader';
import type { Connection, PageRequest } from '../pagination.js';
import type { Actor } from '../services/actor.js';
import { firstRunsOfConversations } from '../services/agent-product-runs.js';
import type { Context } from '../services/context.js';
import { firstDeliveriesOfWebhooks } from '../services/deliveries/deliveries.js';
import { contentsOfMessages, createAnswerBudget, dataOfRuns } from '../services/large-values.js';
import {
  attemptsOfDeliveries,
  conversationsByIds,
  conversationsOfWorkflows,
  deliveriesOfMessages,
  logsOfMessages,
  productsByIds,
  threadsByIds,
  webhooksByIds,
} from '../services/lookups.js';
import { firstMessagesOfThreads, lastMessages, messagesByIds } from '../services/message-heads.js';
import { firstThreadsOfWorkflows } from '../services/threads.js';
import { unreadCounts } from '../services/unread.js';

interface Loader<Key, Value> {
  load(key: Key): Promise<Value>;
  clearAll(): void;
}

/** A loader that is made when it is first asked: an operation needs few of them. */
function lazy<Key, Value>(make: () => Loader<Key, Value>): Loader<Key, Value> {
  let loader: Loader<Key, Value> | undefined;
  return {
    load(key) {
      loader ??= make();
      return loader.load(key);
    },
    clearAll() {
      loader = undefined;
    },
  };
}

/** Collects the lookups of one operation, so that a list of any length costs one statement per field. */
export function createLoaders(context: Context, actor: Actor) {
  const budget = createAnswerBudget();

  /** One lookup for all keys that are asked for at the same time. */
  const byKey = <Key, Value>(
    find: (context: Context, actor: Actor, keys: readonly Key[]) => Promise<(Value | Error)[]>,
  ) => lazy(() => new DataLoader<Key, Value>((keys) => find(context, actor, keys)));

  /** The same for rows, whose ids tell whether they are the same. */
  const byRow = <Row extends { readonly id: string }, Value>(
    find: (context: Context, actor: Actor, rows: readonly Row[]) => Promise<(Value | Error)[]>,
  ) =>
    lazy(
      () =>
        new DataLoader<Row, Value, string>((rows) => find(context, actor, rows), {
          cacheKeyFn: ({ id }) => id,
        }),
    );

  /** Pages of lists that hang on parents: one lookup for those with the same arguments, as those of one field are. */
  const byParent = <Parent, Args extends PageRequest, Row>(
    find: (
      context: Context,
      actor: Actor,
      parents: readonly Parent[],
      args: Args,
    ) => Promise<Connection<Row>[]>,
  ) => {
    const loaders = new Map<string, Loader<Parent, Connection<Row>>>();
    return {
      load(parent: Parent, args: Args): Promise<Connection<Row>> {
        const key = JSON.stringify(args);
        const loader = loaders.get(key) ?? byKey((context, actor, keys) => find(context, actor, keys, args));
        loaders.set(key, loader);
        return loader.load(parent);
      },
      clearAll: () => loaders.clear(),
    };
  };

  return {
    thread: byKey(threadsByIds),
    message: byKey(messagesByIds),
    webhook: byKey(webhooksByIds),
    conversation: byKey(conversationsByIds),
    conversationOfWorkflow: byKey(conversationsOfWorkflows),
    product: byKey(productsByIds),
    threadsOfWorkflow: byParent(firstThreadsOfWorkflows),
    runsOfConversation: byParent(firstRunsOfConversations),
    messagesOfThread: byParent(firstMessagesOfThreads),
    deliveriesOfWebhook: byParent(firstDeliveriesOfWebhooks),
    lastMessage: byRow(lastMessages),
    unreadCount: byRow(unreadCounts),
    content: byRow<Parameters<typeof contentsOfMessages>[2][number], unknown>((context, actor, messages) =>
      contentsOfMessages(context, actor, messages, budget),
    ),
    runData: byKey((context, actor, ids: readonly number[]) => dataOfRuns(context, actor, ids, budget)),
    logs: byKey(logsOfMessages),
    deliveries: byKey(deliveriesOfMessages),
    attempts: byKey(attemptsOfDeliveries),
  };
}

export type Loaders = ReturnType<typeof createLoaders>;

/** What was loaded before a change must not be shown as what is there after it. */
export function forgetAll(loaders: Loaders): void {
  for (const loader of Object.values(loaders)) loader.clearAll();
}
