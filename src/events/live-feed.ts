import type { Database } from '../database/client.js';
import type { Log } from '../log.js';
import type { Hints } from './hints.js';
import { type EventFilter, type LogEvent, lastSequence, matches, readEvents, readNewEvents } from './log.js';
import { startPoller } from './poller.js';

/**
 * Follows the log for everyone in this process who wants to see it live: one reader reads the new events of the
 * tenants that have subscribers, once, and hands them out in memory.
 */
export interface LiveFeed {
  /**
   * The matching events behind `after` (null: from now on), in order, without gap or repeat, until the consumer
   * returns or the feed closes. It is pulled: who does not read is not fed.
   */
  subscribe(tenantId: string, after: bigint | null, filter: EventFilter): AsyncIterableIterator<LogEvent>;
  /** Ends every subscription. */
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
  /** True once something was dropped: what follows must be read from the database. */
  hasOverflowed = false;

  constructor(
    readonly filter: EventFilter,
    /** The reader's position when this inbox was opened: everything behind it arrives here. */
    readonly openedAt: bigint,
  ) {}

  put(event: LogEvent): void {
    if (this.hasOverflowed || !matches(this.filter, event)) return;
    this.#bytes += event.message?.contentBytes ?? 0;
    const isFull = this.#events.length >= MAX_BUFFERED || this.#bytes > MAX_BUFFERED_BYTES;
    if (!isFull || this.#events.length === 0) this.#events.push(event);
    else {
      this.#events = [];
      this.hasOverflowed = true;
    }
    this.#wake();
  }

  take(): LogEvent[] {
    this.#bytes = 0;
    return this.#events.splice(0);
  }

  /** Resolves at the next event, or when the subscription ends. */
  async arrival(signal: AbortSignal): Promise<void> {
    if (this.#events.length > 0 || this.hasOverflowed || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#wake = done;
      signal.addEventListener('abort', done);
    });
  }
}

interface Channel {
  /** Up to where the reader has handed out this tenant's events. */
  position: bigint;
  readonly inboxes: Set<Inbox>;
}

export function startLiveFeed(database: Database, hints: Hints, log: Log): LiveFeed {
  const channels = new Map<string, Channel>();
  const closing = new AbortController();

  const reader = startPoller({
    name: 'live feed',
    intervalMs: POLL_MS,
    hints,
    log,
    work: async () => {
      const positions = new Map([...channels].map(([tenantId, { position }]) => [tenantId, position]));
      const { events, hasMore } = await readNewEvents(database, positions, EVENTS_A_READ);
      for (const event of events) {
        const channel = channels.get(event.tenantId);
        // A channel that was closed and opened again meanwhile may already stand further on.
        if (!channel || event.sequence !== channel.position + 1n) continue;
        channel.position = event.sequence;
        for (const inbox of channel.inboxes) inbox.put(event);
      }
      return hasMore;
    },
  });

  function open(tenantId: string, filter: EventFilter, end: bigint): Inbox {
    let channel = channels.get(tenantId);
    if (!channel) {
      channel = { position: end, inboxes: new Set() };
      channels.set(tenantId, channel);
    }
    const inbox = new Inbox(filter, channel.position);
    channel.inboxes.add(inbox);
    return inbox;
  }

  function shut(tenantId: string, inbox: Inbox): void {
    const channel = channels.get(tenantId);
    channel?.inboxes.delete(inbox);
    if (channel?.inboxes.size === 0) channels.delete(tenantId);
  }

  /** First what lies behind, from the database; then what arrives; after an overflow again from the start. */
  async function* follow(tenantId: string, after: bigint | null, filter: EventFilter, signal: AbortSignal) {
    let position = after ?? (await lastSequence(database, tenantId));
    while (!signal.aborted) {
      const inbox = open(tenantId, filter, await lastSequence(database, tenantId));
      try {
        while (position < inbox.openedAt && !signal.aborted) {
          const range = { after: position, upTo: inbox.openedAt };
          const { events, hasMore } = await readEvents(database, tenantId, range, filter, EVENTS_A_READ);
          for (const event of events) {
            yield event;
            position = event.sequence;
          }
          if (!hasMore) position = inbox.openedAt;
        }
        while (!signal.aborted) {
          for (const event of inbox.take()) {
            if (event.sequence <= position) continue;
            yield event;
            position = event.sequence;
          }
          if (inbox.hasOverflowed) break;
          await inbox.arrival(signal);
        }
      } finally {
        shut(tenantId, inbox);
      }
    }
  }

  return {
    subscribe(tenantId, after, filter) {
      const own = new AbortController();
      const events = follow(tenantId, after, filter, AbortSignal.any([own.signal, closing.signal]));
      return {
        next: () => events.next(),
        // A generator that waits cannot be returned from outside; ending the wait comes first.
        return: () => {
          own.abort();
          return events.return(undefined);
        },
        [Symbol.asyncIterator]() {
          return this;
        },
      };
    },
    async close() {
      closing.abort();
      await reader.stop();
    },
  };
}
