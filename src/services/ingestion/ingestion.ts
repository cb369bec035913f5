import { type Database, isLockTimeout, sqlState } from '../../database/client.js';
import { conflict, notFound } from '../../errors.js';
import type { Hints } from '../../events/hints.js';
import { Batcher } from '../batcher.js';
import { findKeptAnswers, type NewMessage, type StoredMessage, storeMessages } from './statement.js';

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

const MAX_BATCH_ITEMS = 200;
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
export function createIngestion(shared: Database, patient: Database, hints: Hints): Ingestion {
  const batcher = new Batcher<NewMessage, StoredMessage>({
    write: (messages, lane) => writeBatch(lane === 'shared' ? shared : patient, messages, hints),
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
): Promise<PromiseSettledResult<StoredMessage>[]> {
  const outcomes = new Map<NewMessage, PromiseSettledResult<StoredMessage>>();
  let remaining = messages;
  for (let tries = 1; remaining.length > 0 && tries <= MAX_TRIES; tries++) {
    for (const [message, outcome] of await store(database, remaining)) outcomes.set(message, outcome);
    if (outcomes.size > 0) hints.ring();
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

async function store(database: Database, messages: readonly NewMessage[]): Promise<Outcome[]> {
  try {
    const stored = new Map((await storeMessages(database, messages)).map((row) => [row.messageId, row]));
    return messages.flatMap((message): Outcome[] => {
      const row = stored.get(message.messageId);
      return row ? [[message, fulfilled(row)]] : [];
    });
  } catch (error) {
    const [only] = messages;
    if (only?.expectedThreadId && messages.length === 1 && sqlState(error) === NOT_NULL_VIOLATION) {
      return [[only, rejected(notFound('Thread'))]];
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
