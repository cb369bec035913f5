import type { Database } from '../database/client.js';
import type { Log } from '../log.js';
import { createCatchUp } from './catch-up.js';
import type { Hints } from './hints.js';
import { type EventFilter, type LogEvent, lastSequence, matches, readNewEvents } from './log.js';
import { startPoller } from './poller.js';

/**
 * Follows the log for everyone in this process who wants to see it live: one reader reads the new events of the
 * tenants that have subscribers, once, and hands them out in memory.
 */
export interface LiveFeed {
  /**
   * The matching events behind `after` (null: from now on), in order, without gap or repeat, until the consumer
   * returns or the feed ends. It is pulled: who does not read is not fed. It fails with `cursor_expired` when the
   * log is trimmed faster than it is read.
   */
  subscribe(tenantId: string, after: bigint | null, filter: EventFilter): AsyncIterableIterator<LogEvent>;
  /** Reads all that was committed by now, and lets every subscription end behind it. */
  drain(): Promise<void>;
  /** Ends every subscription at once. */
  close(): Promise<void>;
}

const POLL_MS = 1_000;
const EVENTS_A_READ = 500;
/** A subscriber that lets more than this pile up is dropped from memory and catches up from the database. */
const MAX_BUFFERED = 500;
/** The same, in bytes of the contents of messages. */
const MAX_BUFFERED_BYTES = 16 * 1024 * 1024;

/** One subscriber's share of what the reader brought. */
class Inbox {
  #events: LogEvent[] = [];
  #bytes = 0;
  #wake = () => {};
  /** The reader's position when the inbox was opened: everything behind it arrives here. */
  openedAt = 0n;
  /** True once something was dropped: what follows must be read from the database. */
  hasOverflowed = false;
  /** True once nobody reads it any more. */
  isOver = false;

  constructor(readonly filter: EventFilter) {}

  open(position: bigint): void {
    this.take();
    this.openedAt = position;
    this.hasOverflowed = false;
  }

  put(event: LogEvent): void {
    if (this.hasOverflowed || !matches(this.filter, event)) return;
    this.#bytes += event.message?.contentBytes ?? 0;
    const isFull = this.#events.length >= MAX_BUFFERED || this.#bytes > MAX_BUFFERED_BYTES;
    if (isFull && this.#events.length > 0) {
      this.overflow();
    } else {
      this.#events.push(event);
      this.wake();
    }
  }

  overflow(): void {
    this.take();
    this.hasOverflowed = true;
    this.wake();
  }

  take(): LogEvent[] {
    this.#bytes = 0;
    return this.#events.splice(0);
  }

  /** Resolves at the next event, or when the inbox is woken to look around. */
  async arrival(): Promise<void> {
    if (this.#events.length > 0) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.#wake();
  }
}

interface Channel {
  /** Up to where the reader has handed out this tenant's events. */
  position: bigint;
  readonly inboxes: Set<Inbox>;
}

export function startLiveFeed(database: Database, hints: Hints, log: Log): LiveFeed {
  const channels = new Map<string, Channel>();
  const catchUp = createCatchUp(database);
  let isDrained = false;
  let isClosed = false;

  const reader = startPoller({ name: 'live feed', intervalMs: POLL_MS, hints, log, work: readOn });

  /** Hands out what is new. Answers whether there is more. */
  async function readOn(): Promise<boolean> {
    const positions = new Map([...channels].map(([tenantId, { position }]) => [tenantId, position]));
    const { events, hasMore } = await readNewEvents(database, positions, EVENTS_A_READ);
    for (const event of events) {
      const channel = channels.get(event.tenantId);
      // A channel that was closed and opened again meanwhile may already stand further on.
      if (!channel || event.sequence <= channel.position) continue;
      const isNext = event.sequence === channel.position + 1n;
      channel.position = event.sequence;
      for (const inbox of channel.inboxes) {
        // What lies between was trimmed away before it was read; whoever still needed it will be told.
        if (isNext) inbox.put(event);
        else inbox.overflow();
      }
    }
    return hasMore;
  }

  function open(tenantId: string, inbox: Inbox, end: bigint): void {
    let channel = channels.get(tenantId);
    if (!channel) {
      channel = { position: end, inboxes: new Set() };
      channels.set(tenantId, channel);
    }
    inbox.open(channel.position);
    channel.inboxes.add(inbox);
  }

  function shut(tenantId: string, inbox: Inbox): void {
    const channel = channels.get(tenantId);
    channel?.inboxes.delete(inbox);
    if (channel?.inboxes.size === 0) channels.delete(tenantId);
  }

  /** First what lies behind, from the database; then what arrives; after an overflow again from the start. */
  async function* follow(tenantId: string, after: bigint | null, inbox: Inbox) {
    const isOver = () => inbox.isOver || isClosed;
    let position = after ?? (await lastSequence(database, tenantId));
    while (!isOver()) {
      open(tenantId, inbox, await lastSequence(database, tenantId));
      try {
        while (position < inbox.openedAt && !isOver()) {
          const range = { after: position, upTo: inbox.openedAt };
          const { events, end } = await catchUp(tenantId, range, inbox.filter);
          for (const event of events) {
            yield event;
            position = event.sequence;
          }
          position = end;
        }
        while (!isOver()) {
          for (const event of inbox.take()) {
            if (event.sequence <= position) continue;
            yield event;
            position = event.sequence;
          }
          if (inbox.hasOverflowed) break;
          if (isDrained || isOver()) return;
          await inbox.arrival();
        }
      } finally {
        shut(tenantId, inbox);
      }
    }
  }

  const wakeAll = () => {
    for (const { inboxes } of channels.values()) for (const inbox of inboxes) inbox.wake();
  };

  return {
    subscribe(tenantId, after, filter) {
      const inbox = new Inbox(filter);
      const events = follow(tenantId, after, inbox);
      return {
        next: () => events.next(),
        // A generator that waits cannot be returned from outside; ending the wait comes first.
        return: () => {
          inbox.isOver = true;
          inbox.wake();
          return events.return(undefined);
        },
        [Symbol.asyncIterator]() {
          return this;
        },
      };
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
