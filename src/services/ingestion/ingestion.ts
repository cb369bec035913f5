import { type Database, isLockTimeout, sqlState } from '../../database/client.js';
import { conflict, notFound } from '../../errors.js';
import type { Hints } from '../../events/hints.js';
import type { LiveFeed } from '../../events/live-feed.js';
import { Batcher } from '../batcher.js';
import { appendedBy } from './appended.js';
import { findKeptAnswers } from './kept-answers.js';
import { type NewMessage, type StoredMessage, type StoredRow, storeMessages } from './statement.js';

/** Takes messages in, exactly once per idempotency key, batched by nature. */
export interface Ingestion {
  /**
   * Resolves once the message is committed (or was committed earlier under the same key).
   * @throws ParleyError `conflict` when the key was used with another body, `not_found` when the named thread
   * is gone.
   */
  add(message: NewMessage): Promise<StoredMessage>;
  /** Resolves when everything that was added is settled. */
  drained(): Promise<void>;
}

const MAX_BATCH_ITEMS = 500;
/** So many requests are read and answered in two milliseconds, for which a calm tenant's can wait. */
const MAX_BATCH_ITEMS_BESIDE_CALM = 6;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
const MAX_BATCHES_IN_FLIGHT = 3;
/** Smaller ones cost more than the waiting that they save. */
const MIN_BATCH_ITEMS_BESIDE = 32;
/** How often a key is looked up again whose first message was being deleted at that moment. */
const MAX_TRIES = 3;

const NOT_NULL_VIOLATION = '23502';

/**
 * @param shared its short lock timeout keeps one locked tenant from holding up a batch of others
 * @param patient its long lock timeout is for tenants that have been moved to lanes of their own
 */
export function createIngestion(
  shared: Database,
  patient: Database,
  hints: Hints,
  liveFeed: LiveFeed,
): Ingestion {
  const batcher = new Batcher<NewMessage, StoredMessage>({
    write: (messages, lane) => writeBatch(lane === 'shared' ? shared : patient, messages, hints, liveFeed),
    tenantOf: (message) => message.tenantId,
    bytesOf: ({ content, metadata, attachments }) =>
      attachments.reduce((bytes, { data }) => bytes + data.length, content.length + metadata.length),
    isLockTimeout,
    maxItems: MAX_BATCH_ITEMS,
    maxItemsBesideCalm: MAX_BATCH_ITEMS_BESIDE_CALM,
    maxBytes: MAX_BATCH_BYTES,
    maxInFlight: MAX_BATCHES_IN_FLIGHT,
    minItemsBeside: MIN_BATCH_ITEMS_BESIDE,
  });
  return { add: (message) => batcher.add(message), drained: () => batcher.drained() };
}

async function writeBatch(
  database: Database,
  messages: readonly NewMessage[],
  hints: Hints,
  liveFeed: LiveFeed,
): Promise<PromiseSettledResult<StoredMessage>[]> {
  const outcomes = new Map<NewMessage, PromiseSettledResult<StoredMessage>>();
  let remaining = messages;
  for (let tries = 1; remaining.length > 0 && tries <= MAX_TRIES; tries++) {
    const tenants = new Set(remaining.map(({ tenantId }) => tenantId));
    const followed = [...tenants].filter((tenantId) => liveFeed.isFollowed(tenantId));
    const { stored, refused } = await store(database, remaining, followed);
    for (const [message, { messageId, threadId, position, createdAt }] of stored) {
      outcomes.set(message, fulfilled({ messageId, threadId, position, createdAt }));
    }
    for (const [message, reason] of refused) outcomes.set(message, rejected(reason));
    if (stored.size > 0) hints.ring(() => liveFeed.bring(appendedBy(stored)));
    remaining = remaining.filter((message) => !outcomes.has(message));
    if (remaining.length > 0) {
      for (const [message, outcome] of await keptAnswers(database, remaining)) outcomes.set(message, outcome);
      remaining = remaining.filter((message) => !outcomes.has(message));
    }
  }
  return messages.map(
    (message) =>
      outcomes.get(message) ??
      rejected(conflict('The message of this idempotency key is being deleted; try again')),
  );
}

type Outcome = [NewMessage, PromiseSettledResult<StoredMessage>];

interface Stored {
  /** In the order of the batch. */
  readonly stored: ReadonlyMap<NewMessage, StoredRow>;
  readonly refused: readonly (readonly [NewMessage, unknown])[];
}

async function store(
  database: Database,
  messages: readonly NewMessage[],
  followed: readonly string[],
): Promise<Stored> {
  try {
    const rows = await storeMessages(database, messages, followed);
    const byId = new Map(rows.map((row) => [row.messageId, row]));
    const stored = new Map<NewMessage, StoredRow>();
    for (const message of messages) {
      const row = byId.get(message.messageId);
      if (row) stored.set(message, row);
    }
    return { stored, refused: [] };
  } catch (error) {
    const [only] = messages;
    if (only?.expectedThreadId && messages.length === 1 && sqlState(error) === NOT_NULL_VIOLATION) {
      return { stored: new Map(), refused: [[only, notFound('Thread')]] };
    }
    throw error;
  }
}

async function keptAnswers(database: Database, messages: readonly NewMessage[]): Promise<Outcome[]> {
  const name = (tenantId: string, direction: string, key: string | null) =>
    JSON.stringify([tenantId, direction, key]);
  const kept = new Map(
    (await findKeptAnswers(database, messages)).map((answer) => [
      name(answer.tenantId, answer.direction, answer.key),
      answer,
    ]),
  );
  return messages.flatMap((message): Outcome[] => {
    const answer = kept.get(name(message.tenantId, message.direction, message.idempotencyKey));
    if (!answer) return [];
    return [[message, answer.inputHash === message.inputHash ? fulfilled(answer) : rejected(keyReused())]];
  });
}

export const keyReused = () =>
  conflict('The idempotency key was used before with a different message', [
    { field: 'idempotencyKey', issue: 'was used before with a different message' },
  ]);

const fulfilled = <T>(value: T): PromiseFulfilledResult<T> => ({ status: 'fulfilled', value });
const rejected = (reason: unknown): PromiseRejectedResult => ({ status: 'rejected', reason });
