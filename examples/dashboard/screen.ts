import type { ConversationMessage } from './conversation.js';
import type { InboxThread } from './inbox.js';

/** The conversation that is open. */
export interface Open {
  readonly thread: InboxThread;
  readonly messages: readonly ConversationMessage[];
}

export interface View {
  readonly isLive: boolean;
  readonly threads: readonly InboxThread[];
  readonly open: Open | null;
  /** What the user should know. */
  readonly notice: string;
}

const WIDTH = 100;
const HELP = 'a number opens a conversation · any other text replies in it · Ctrl-C leaves';

/** The whole dashboard as text. */
export function render({ isLive, threads, open, notice }: View): string {
  const unread = threads.reduce((sum, { unreadCount }) => sum + unreadCount, 0);
  return [
    `Parley · ${threads.length} conversations · ${unread} unread · ${isLive ? 'live' : 'connecting ...'}`,
    '',
    ...(threads.length > 0 ? threads.map(threadLine) : ['  Nobody has written yet.']),
    '',
    ...(open ? [`── ${oneLine(open.thread.participantId)} ──`, ...open.messages.map(messageLine), ''] : []),
    ...(notice ? [oneLine(notice), ''] : []),
    HELP,
    '',
  ].join('\n');
}

const threadLine = (thread: InboxThread, index: number): string =>
  clip(
    [
      String(index + 1).padStart(3),
      (thread.unreadCount > 0 ? `(${thread.unreadCount})` : '').padEnd(5),
      clip(thread.participantId, 24).padEnd(24),
      thread.status.toLowerCase().padEnd(8),
      thread.lastMessage ? messageText(thread.lastMessage) : '',
    ].join(' '),
  );

const messageLine = (message: ConversationMessage): string =>
  clip(`${message.createdAt.slice(11, 19)} ${messageText(message)}`);

type Said = Pick<ConversationMessage, 'direction' | 'content' | 'status'>;

function messageText({ direction, content, status }: Said): string {
  const text = content.subject ?? content.body ?? content.transcript ?? JSON.stringify(content);
  return direction === 'INBOUND' ? `→ ${text}` : `← ${text} [${status.toLowerCase()}]`;
}

const clip = (text: string, width = WIDTH): string => {
  const line = [...oneLine(text)];
  return line.length > width ? `${line.slice(0, width - 1).join('')}…` : line.join('');
};

/** Strangers write the messages: nothing of them may steer the terminal. */
const oneLine = (text: string): string => text.replace(/\p{C}+/gu, ' ');
