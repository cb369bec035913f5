import type { Database } from '../database/client.js';
import { type EventFilter, type EventRange, type LogEvent, matches, readEvents } from './log.js';

/** Some matching events of a range of the log. */
export interface Part {
  readonly events: readonly LogEvent[];
  /** Up to where there are no others. */
  readonly end: bigint;
}

const EVENTS_A_READ = 500;
const EVENTS_A_PAGE = 100n;
/** How far from the end of the log pages are shared. */
const SHARED_EVENTS = 2_000n;
/** Long enough for all who lost their connections at the same moment. */
const KEPT_MS = 250;

/**
 * Reads what subscribers missed. When an api ends, all of its subscribers come back at once to read the same last
 * events, so those are read in pages that are shared; 100 subscribers who each read 500 events by themselves cost 4 s of
 * computing time here, and as much in the database. Who wants a small part of the log reads that part alone.
 */
export function createCatchUp(database: Database) {
  const pages = new Map<string, Promise<Part>>();

  function readPage(tenantId: string, start: bigint): Promise<Part> {
    const key = `${tenantId}:${start}`;
    const known = pages.get(key);
    if (known) return known;
    const range = { after: start, upTo: start + EVENTS_A_PAGE };
    const page = readEvents(database, tenantId, range, {}, Number(EVENTS_A_PAGE)).then(({ events }) => ({
      events,
      end: events.at(-1)?.sequence ?? start,
    }));
    pages.set(key, page);
    setTimeout(() => pages.delete(key), KEPT_MS).unref();
    return page;
  }

  /** What of a page lies in the range; null when nothing does. */
  async function readShared(
    tenantId: string,
    { after, upTo }: EventRange,
    filter: EventFilter,
  ): Promise<Part | null> {
    // The front of the page may be trimmed away already, though not what is asked for.
    const page = await readPage(tenantId, after - (after % EVENTS_A_PAGE)).catch(() => null);
    if (!page || page.end <= after) return null;
    const isAsked = (event: LogEvent) =>
      event.sequence > after && event.sequence <= upTo && matches(filter, event);
    return { events: page.events.filter(isAsked), end: page.end < upTo ? page.end : upTo };
  }

  /**
   * The first matching events of a range, in order.
   * @throws ParleyError `cursor_expired` when a part of it was trimmed away
   */
  return async (tenantId: string, range: EventRange, filter: EventFilter): Promise<Part> => {
    const isNear = range.upTo - range.after <= SHARED_EVENTS;
    const shared = isNear && isBroad(filter) ? await readShared(tenantId, range, filter) : null;
    if (shared) return shared;
    const { events, hasMore } = await readEvents(database, tenantId, range, filter, EVENTS_A_READ);
    return { events, end: hasMore ? (events.at(-1)?.sequence ?? range.after) : range.upTo };
  };
}

const isBroad = ({ threadId, workflowId, participantId, workflowConversationId }: EventFilter): boolean =>
  [threadId, workflowId, participantId, workflowConversationId].every((narrow) => narrow === undefined);
