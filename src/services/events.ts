import { z } from 'zod';
import { invalidRequest } from '../errors.js';
import { type EventType, eventTypes } from '../events/append.js';
import { cursorExpired, decodeEventCursor, encodeEventCursor } from '../events/cursor.js';
import type { LiveEvents } from '../events/live-feed.js';
import {
  type BareEvent,
  type EventFilter,
  type LogBounds,
  type LogEvent,
  lastSequence,
  logBounds,
  readBareEvents,
} from '../events/log.js';
import { decodeId } from '../ids.js';
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { listOfSome, parseInput, text } from './input.js';

export { type EventType, eventTypes } from '../events/append.js';
export type { LiveEvents } from '../events/live-feed.js';
export type { BareEvent, LogEvent } from '../events/log.js';

/** An event, with its objects where they are loaded already. */
export type Event = BareEvent & Partial<Pick<LogEvent, 'message' | 'thread' | 'workflowConversation'>>;

/** The place behind an event in the tenant's log; 0 is its beginning. */
export const cursorOf = (actor: Actor, sequence: bigint): string =>
  encodeEventCursor(actor.tenantId, sequence);

/** The present end of the tenant's log, as a cursor. */
export async function eventCursor(context: Context, actor: Actor): Promise<string> {
  requireScope(actor, 'conversations:read');
  return cursorOf(actor, await lastSequence(context.database, actor.tenantId));
}

/** The oldest cursor that still works: all that is retained of the tenant's log lies behind it. */
export async function oldestCursor(context: Context, actor: Actor): Promise<string> {
  requireScope(actor, 'conversations:read');
  return cursorOf(actor, (await logBounds(context.database, actor.tenantId)).start);
}

const filterInput = z.object({
  types: listOfSome<EventType>(eventTypes, 'must name at least one type').nullish(),
  threadId: z.string().nullish(),
  workflowId: text(0, 128).nullish(),
  participantId: text(0, 128).nullish(),
  workflowConversationId: z.int32().nullish(),
  after: z.string().nullish(),
});

/** A UUID that no thread has: a malformed id follows a thread that does not exist. */
const NO_THREAD = '00000000-0000-0000-0000-000000000000';

const toFilter = (given: Omit<z.output<typeof filterInput>, 'after'>): EventFilter => ({
  types: given.types ?? undefined,
  threadId: given.threadId == null ? undefined : (decodeId('thread', given.threadId) ?? NO_THREAD),
  workflowId: given.workflowId ?? undefined,
  participantId: given.participantId ?? undefined,
  workflowConversationId: given.workflowConversationId ?? undefined,
});

/** How far one page looks for events that match. */
const MAX_EXAMINED = 10_000n;

const pageInput = filterInput.extend({
  first: z
    .int32()
    .refine((size) => size >= 1 && size <= MAX_PAGE_SIZE, `must be from 1 to ${MAX_PAGE_SIZE}`)
    .nullish(),
});

/** A part of the log. It may be short or empty while there is more: where few events match, it looks only so far. */
export interface EventPage {
  readonly events: BareEvent[];
  /** Where to go on reading, or from where to follow. */
  readonly nextCursor: string;
  readonly hasMore: boolean;
}

/**
 * The tenant's log behind `after`, from the oldest retained event on without it.
 * @throws ParleyError `invalid_request` also when `after` is not a cursor of this tenant's log; `cursor_expired`
 */
export async function listEvents(context: Context, actor: Actor, input: unknown): Promise<EventPage> {
  requireScope(actor, 'conversations:read');
  const { database } = context;
  const { after, first, ...filter } = parseInput(pageInput, input);
  const { start, end } = await logBehind(context, actor, after ?? 'start', 'after');
  const upTo = end - start > MAX_EXAMINED ? start + MAX_EXAMINED : end;
  const size = first ?? DEFAULT_PAGE_SIZE;
  const range = { after: start, upTo };
  const found = await readBareEvents(database, actor.tenantId, range, toFilter(filter), size + 1);
  const events = found.slice(0, size);
  const last = found.length > size ? (events.at(-1)?.sequence ?? upTo) : upTo;
  return { events, nextCursor: cursorOf(actor, last), hasMore: last < end };
}

export interface FollowOptions {
  /** What the caller knows `after` by. */
  readonly cursorField?: string;
  /** Leaves out more than the input does, by what is loaded of an event. */
  readonly isShown?: (event: LogEvent) => boolean;
}

/**
 * Follows the tenant's log: with `after` everything since that cursor first (`start`: since the oldest retained
 * event), then live; without it from now on.
 * @param types of the events that are followed; null for those that the input names, or all
 * @throws ParleyError `invalid_request` when `after` is not a cursor of this tenant's log; `cursor_expired`, also later
 *   on when the log was trimmed before a slow reader had read it
 */
export async function followEvents(
  context: Context,
  actor: Actor,
  types: readonly EventType[] | null,
  input: unknown,
  { cursorField = 'after', isShown }: FollowOptions = {},
): Promise<LiveEvents> {
  requireScope(actor, 'conversations:read');
  const { after, ...filter } = parseInput(filterInput, input);
  const behind = after == null ? null : await logBehind(context, actor, after, cursorField);
  return context.liveFeed.subscribe(
    actor.tenantId,
    behind?.start ?? null,
    toFilter({ ...filter, types: types ? [...types] : filter.types }),
    isShown,
  );
}

/**
 * The log behind a caller's cursor (`start`: all that is retained).
 * @throws ParleyError `cursor_expired`, `invalid_request`, both naming the field
 */
async function logBehind(
  { database }: Context,
  { tenantId }: Actor,
  cursor: string,
  field: string,
): Promise<LogBounds> {
  const { start, end } = await logBounds(database, tenantId);
  if (cursor === 'start') return { start, end };
  const sequence = decodeEventCursor(tenantId, cursor);
  if (sequence === null || sequence > end) {
    throw invalidRequest([{ field, issue: 'is not a cursor of this log' }]);
  }
  if (sequence < start) throw cursorExpired(tenantId, start, field);
  return { start: sequence, end };
}
