import { z } from 'zod';
import { invalidRequest } from '../errors.js';
import type { EventType } from '../events/append.js';
import { decodeEventCursor, encodeEventCursor } from '../events/cursor.js';
import { type LogEvent, lastSequence } from '../events/log.js';
import { decodeId } from '../ids.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { parseInput, text } from './input.js';

export { type EventType, eventTypes } from '../events/append.js';
export type { LogEvent } from '../events/log.js';

/** The place behind an event in the tenant's log; 0 is its beginning. */
export const cursorOf = (actor: Actor, sequence: bigint): string =>
  encodeEventCursor(actor.tenantId, sequence);

/** The present end of the tenant's log, as a cursor. */
export async function eventCursor(context: Context, actor: Actor): Promise<string> {
  requireScope(actor, 'conversations:read');
  return cursorOf(actor, await lastSequence(context.database, actor.tenantId));
}

const subscription = z.object({
  threadId: z.string().nullish(),
  workflowId: text(0, 128).nullish(),
  participantId: text(0, 128).nullish(),
  workflowConversationId: z.int32().nullish(),
  after: z.string().nullish(),
});

/** A UUID that no thread has: a malformed id follows a thread that does not exist. */
const NO_THREAD = '00000000-0000-0000-0000-000000000000';

/**
 * Follows the tenant's log: with `after` everything since that cursor first (`start`: since the oldest retained
 * event), then live; without it from now on.
 * @param types null for all
 * @throws ParleyError `invalid_request` when `after` is not a cursor of this tenant's log
 */
export async function followEvents(
  context: Context,
  actor: Actor,
  types: readonly EventType[] | null,
  input: unknown,
): Promise<AsyncIterableIterator<LogEvent>> {
  requireScope(actor, 'conversations:read');
  const { after, threadId, workflowId, participantId, workflowConversationId } = parseInput(
    subscription,
    input,
  );
  return context.liveFeed.subscribe(actor.tenantId, await position(context, actor, after ?? null), {
    types: types ?? undefined,
    threadId: threadId == null ? undefined : (decodeId('thread', threadId) ?? NO_THREAD),
    workflowId: workflowId ?? undefined,
    participantId: participantId ?? undefined,
    workflowConversationId: workflowConversationId ?? undefined,
  });
}

async function position(context: Context, actor: Actor, after: string | null): Promise<bigint | null> {
  if (after === null) return null;
  if (after === 'start') return 0n;
  const sequence = decodeEventCursor(actor.tenantId, after);
  if (sequence === null || sequence > (await lastSequence(context.database, actor.tenantId))) {
    throw invalidRequest([{ field: 'after', issue: 'is not a cursor of this log' }]);
  }
  return sequence;
}
