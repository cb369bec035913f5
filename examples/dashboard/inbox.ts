import { type Parley, request } from './client.js';
import { hasCode } from './errors.js';
import { type FollowOptions, follow } from './follow.js';
import {
  EventCursorDocument,
  InboxChangesDocument,
  type InboxChangesSubscription,
  InboxDocument,
  type InboxThreadFragment as InboxThread,
  MarkThreadReadDocument,
} from './generated/documents.js';

export type { InboxThread };
export type InboxChange = InboxChangesSubscription['events'];

export interface Inbox {
  /** The first threads as Parley lists them, the last changed first. Replaced with every change, never mutated. */
  readonly threads: readonly InboxThread[];
  /**
   * Loads the inbox and keeps it up to date until `signal` aborts. `onChange` is told after each change which it
   * was; nothing when the whole inbox was loaded.
   * @throws ParleyError when Parley refuses, or cannot be reached to begin with
   */
  follow(onChange: (change?: InboxChange) => void, options: FollowOptions): Promise<void>;
  /** Marks all that is there of a thread as read, for the user of the key (or the key when it has none). */
  markRead(thread: InboxThread): Promise<void>;
}

/** An inbox in memory that equals `threads(first: size)` on the server. No framework: render `threads` as you like. */
export function createInbox(parley: Parley, size = 50): Inbox {
  let threads: readonly InboxThread[] = [];
  const readUpTo = new Map<string, number>();

  /** Answers with a cursor that lies before everything that was loaded. */
  async function load(): Promise<string> {
    const { eventCursor } = await request(parley, EventCursorDocument, {});
    const { threads: page } = await request(parley, InboxDocument, { size });
    threads = page.edges.map(({ node }) => withoutRead(node));
    return eventCursor;
  }

  async function apply({ threadId, thread }: InboxChange): Promise<void> {
    const others = threads.filter(({ id }) => id !== threadId);
    // A thread that we do not have may now have a place in the inbox.
    if (!thread && others.length < threads.length && threads.length === size) await load();
    else threads = thread ? [...others, withoutRead(thread)].sort(byLastChange).slice(0, size) : others;
  }

  /** Reading makes no event, so a row that was under way when it was read still counts what is read by now. */
  function withoutRead(thread: InboxThread): InboxThread {
    const behind = Math.max(0, thread.messageCount - (readUpTo.get(thread.id) ?? 0));
    return { ...thread, unreadCount: Math.min(thread.unreadCount, behind) };
  }

  return {
    get threads() {
      return threads;
    },
    async follow(onChange, options) {
      for (;;) {
        const after = await load();
        onChange();
        const onEvent = async (change: InboxChange) => {
          await apply(change);
          onChange(change);
        };
        try {
          return await follow(parley, InboxChangesDocument, { after }, onEvent, options);
        } catch (error) {
          // We were away for longer than Parley keeps its log: begin anew.
          if (!hasCode(error, 'CURSOR_EXPIRED')) throw error;
        }
      }
    },
    async markRead({ id, messageCount }) {
      await request(parley, MarkThreadReadDocument, { threadId: id, position: messageCount });
      readUpTo.set(id, Math.max(messageCount, readUpTo.get(id) ?? 0));
      threads = threads.map((thread) => (thread.id === id ? withoutRead(thread) : thread));
    },
  };
}

/** Parley's order: by `updatedAt`, ties by id, both descending. Both are written so that text compares like them. */
const byLastChange = (a: InboxThread, b: InboxThread): number =>
  compare(b.updatedAt, a.updatedAt) || compare(b.id, a.id);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
