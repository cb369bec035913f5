import type { Database } from '../database/client.js';
import type { Log } from '../log.js';
import { createCatchUp } from './catch-up.js';
import type { Hints } from './hints.js';
import { Inbox, Inboxes } from './inbox.js';
import { type EventFilter, type LogEvent, lastSequence, readNewEvents } from './log.js';
import { startPoller } from './poller.js';

/** What this process has just committed to a tenant's log. */
export interface Appended {
  readonly tenantId: string;
  /** Its first events, in order. */
  readonly events: readonly LogEvent[];
  /** The number of its last event; null when that is not known. */
  readonly end: bigint | null;
}

/** The events that somebody follows, in order. Fails with `cursor_expired` when the log is trimmed faster than it is read. */
export interface LiveEvents extends AsyncIterableIterator<LogEvent, undefined> {
  next(): Promise<IteratorResult<LogEvent, undefined>>;
  /** What `next` would answer, if it is there already: nobody has to wait for it. */
  atHand(): LogEvent | undefined;
  /** Up to where all has been given that there was to give; null while there may be more. */
  quietUpTo(): bigint | null;
}

/**
 * Follows the log for everyone in this process who wants to see it live: one reader reads the new events of the
 * tenants that have subscribers, once, and hands them out in memory. What this process writes itself it may bring.
 */
export interface LiveFeed {
  /**
   * The matching events behind `after` (null: from now on), in order, without gap or repeat, until the consumer
   * returns or the feed ends. It is pulled: who does not read is not fed. It fails with `cursor_expired` when the
   * log is trimmed faster than it is read.
   * @param isShown leaves out more than the filter does, by what is loaded of an event
   */
  subscribe(
    tenantId: string,
    after: bigint | null,
    filter: EventFilter,
    isShown?: (event: LogEvent) => boolean,
  ): LiveEvents;
  /** Whether somebody follows this tenant's log here. */
  isFollowed(tenantId: string): boolean;
  /**
   * Hands out what was just committed where it comes next, so that it need not be read.
   * @returns whether that was all of it; the rest is there to be read
   */
  bring(appended: readonly Appended[]): boolean;
  /** Reads all that was committed by now, and lets every subscription end behind it. */
  drain(): Promise<void>;
  /** Ends every subscription at once. */
  close(): Promise<void>;
}

const POLL_MS = 1_000;
const EVENTS_A_READ = 500;
interface Channel {
  /** Up to where the reader has handed out this tenant's events. */
  position: bigint;
  readonly inboxes: Inboxes;
}

export function startLiveFeed(database: Database, hints: Hints, log: Log): LiveFeed {
  const channels = new Map<string, Channel>();
  const catchUp = createCatchUp(database);
  let isDrained = false;
  let isClosed = false;

  const reader = startPoller({
    name: 'live feed',
    intervalMs: POLL_MS,
    hints: {
      onHint: (listener) =>
        hints.onHint((isBrought) => {
          if (!isBrought) listener(isBrought);
        }),
    },
    log,
    work: readOn,
  });

  /** Hands out what is new. Answers whether there is more. */
  async function readOn(): Promise<boolean> {
    const positions = new Map([...channels].map(([tenantId, { position }]) => [tenantId, position]));
    const { events, hasMore } = await readNewEvents(database, positions, EVENTS_A_READ);
    for (const event of events) {
      const channel = channels.get(event.tenantId);
      // What was brought meanwhile has come; and a channel that was closed and opened again may stand further on.
      if (!channel || event.sequence <= channel.position) continue;
      const isNext = event.sequence === channel.position + 1n;
      channel.position = event.sequence;
      if (isNext) channel.inboxes.put(event);
      // What lies between was trimmed away before it was read; whoever still needed it will be told.
      else for (const inbox of channel.inboxes) inbox.overflow();
    }
    return hasMore;
  }

  function open(tenantId: string, inbox: Inbox, end: bigint): void {
    let channel = channels.get(tenantId);
    if (!channel) {
      channel = { position: end, inboxes: new Inboxes() };
      channels.set(tenantId, channel);
    }
    inbox.open(channel.position);
    channel.inboxes.add(inbox);
  }

  function shut(tenantId: string, inbox: Inbox): void {
    const channel = channels.get(tenantId);
    channel?.inboxes.delete(inbox);
    if (channel?.inboxes.isEmpty) channels.delete(tenantId);
  }

  /** First what lies behind, from the database; then what arrives; after an overflow again from the start. */
  function follow(
    tenantId: string,
    after: bigint | null,
    filter: EventFilter,
    isShown: (event: LogEvent) => boolean = () => true,
  ): LiveEvents {
    const inbox = new Inbox(filter);
    let isOpen = false;
    let isOver = false;
    let isWaiting = false;
    let position = after;
    /** What was read or has arrived, and how much of it was handed out. */
    let part: readonly LogEvent[] = [];
    let given = 0;
    /** Up to where there are no others than those of the part. */
    let partEnd = 0n;

    const end = () => {
      isOver = true;
      shut(tenantId, inbox);
    };

    const atHand = (): LogEvent | undefined => {
      while (!isOver && !isClosed) {
        const event = part[given++];
        if (!event) break;
        if (position !== null && event.sequence <= position) continue;
        position = event.sequence;
        if (isShown(event)) return event;
      }
      return undefined;
    };

    return {
      atHand,
      quietUpTo: () => (isWaiting && inbox.isEmpty ? (channels.get(tenantId)?.position ?? null) : null),
      async next() {
        try {
          position ??= await lastSequence(database, tenantId);
          while (!isOver && !isClosed) {
            const value = atHand();
            if (value) return { done: false, value };
            part = [];
            given = 0;
            if (position < partEnd) position = partEnd;
            if (!isOpen) {
              const last = await lastSequence(database, tenantId);
              // It may have been returned meanwhile; nobody would wake it once it waits.
              if (isOver || isClosed) break;
              open(tenantId, inbox, last);
              isOpen = true;
            }
            if (position < inbox.openedAt) {
              const range = { after: position, upTo: inbox.openedAt };
              ({ events: part, end: partEnd } = await catchUp(tenantId, range, filter));
              continue;
            }
            part = inbox.take();
            if (part.length > 0) continue;
            if (inbox.hasOverflowed) isOpen = false;
            else if (isDrained) break;
            else {
              isWaiting = true;
              await inbox.arrival();
              isWaiting = false;
            }
          }
        } catch (error) {
          end();
          throw error;
        }
        end();
        return { done: true, value: undefined };
      },
      async return() {
        end();
        inbox.wake();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  const wakeAll = () => {
    for (const { inboxes } of channels.values()) for (const inbox of inboxes) inbox.wake();
  };

  return {
    subscribe: follow,
    isFollowed: (tenantId) => channels.has(tenantId),
    bring(appended) {
      let isAll = true;
      for (const { tenantId, events, end } of appended) {
        const channel = channels.get(tenantId);
        if (!channel) continue;
        for (const event of events) {
          if (event.sequence !== channel.position + 1n) continue;
          channel.position = event.sequence;
          channel.inboxes.put(event);
        }
        if (end === null || channel.position < end) isAll = false;
      }
      return isAll;
    },
    async drain() {
      await reader.stop();
      try {
        while (!isClosed && (await readOn()));
      } catch (error) {
        log.warn({ err: error }, 'the last events could not be read; subscribers find them elsewhere');
      }
      isDrained = true;
      wakeAll();
    },
    async close() {
      isClosed = true;
      wakeAll();
      await reader.stop();
    },
  };
}
