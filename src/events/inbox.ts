import { type EventFilter, type LogEvent, matches } from './log.js';

/** A subscriber that lets more than this pile up is dropped from memory and catches up from the database. */
const MAX_BUFFERED = 500;
/** The same, in bytes of the contents of messages. */
const MAX_BUFFERED_BYTES = 16 * 1024 * 1024;

/** One subscriber's share of what the reader brought. */
export class Inbox {
  #events: LogEvent[] = [];
  #bytes = 0;
  #wake = () => {};
  /** The reader's position when the inbox was opened: everything behind it arrives here. */
  openedAt = 0n;
  /** True once something was dropped: what follows must be read from the database. */
  hasOverflowed = false;

  constructor(readonly filter: EventFilter) {}

  /** Nothing has come that was not taken, and nothing was dropped. */
  get isEmpty(): boolean {
    return this.#events.length === 0 && !this.hasOverflowed;
  }

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
    const events = this.#events;
    this.#events = [];
    this.#bytes = 0;
    return events;
  }

  /** Resolves at the next event, or when the inbox is woken to look around. */
  arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.#wake();
  }
}

/** The inboxes of a tenant. Most are for one thread, so an event is offered to those of its thread and to the others. */
export class Inboxes {
  readonly #ofThreads = new Map<string | undefined, Set<Inbox>>();

  get isEmpty(): boolean {
    return this.#ofThreads.size === 0;
  }

  add(inbox: Inbox): void {
    const { threadId } = inbox.filter;
    const others = this.#ofThreads.get(threadId);
    if (others) others.add(inbox);
    else this.#ofThreads.set(threadId, new Set([inbox]));
  }

  delete(inbox: Inbox): void {
    const { threadId } = inbox.filter;
    const all = this.#ofThreads.get(threadId);
    all?.delete(inbox);
    if (all?.size === 0) this.#ofThreads.delete(threadId);
  }

  put(event: LogEvent): void {
    for (const inbox of this.#ofThreads.get(undefined) ?? []) inbox.put(event);
    if (event.threadId === null) return;
    for (const inbox of this.#ofThreads.get(event.threadId) ?? []) inbox.put(event);
  }

  *[Symbol.iterator](): Iterator<Inbox> {
    for (const inboxes of this.#ofThreads.values()) yield* inboxes;
  }
}
