import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';
import type { Parley } from './client.js';
import { readConversation, sendReply } from './conversation.js';
import { ParleyError } from './errors.js';
import { createInbox, type InboxChange } from './inbox.js';
import { type Open, render } from './screen.js';

/*
 * An inbox in the terminal, live: npx tsx examples/dashboard/main.ts
 *   PARLEY_API_KEY  needs conversations:read, and conversations:write to reply and to mark as read
 *   PARLEY_URL      http://127.0.0.1:4000
 */
const { PARLEY_URL: url = 'http://127.0.0.1:4000', PARLEY_API_KEY: apiKey } = process.env;

/** `ws` waits for ever for a server that takes the connection and says nothing. Browsers give up by themselves. */
class ImpatientWebSocket extends WebSocket {
  constructor(address: string, protocols: string) {
    super(address, protocols, { handshakeTimeout: 10_000 });
  }
}

async function main(parley: Parley): Promise<void> {
  const inbox = createInbox(parley, 20);
  const leaving = new AbortController();
  const keyboard = createInterface({ input: process.stdin, output: process.stdout });
  let isLive = false;
  let open: Open | null = null;
  let notice = '';

  function draw() {
    const screen = render({ isLive, threads: inbox.threads, open, notice });
    process.stdout.write(process.stdout.isTTY ? `\x1b[2J\x1b[H${screen}` : `${screen}\n`);
    if (process.stdout.isTTY) keyboard.prompt(true);
  }

  /** Shows a thread's conversation as it is now, which reads it. */
  async function show(threadId: string) {
    const thread = inbox.threads.find(({ id }) => id === threadId);
    const messages = await readConversation(parley, threadId);
    open = thread && messages ? { thread, messages } : null;
    if (thread && thread.unreadCount > 0) await inbox.markRead(thread);
  }

  async function obey(line: string) {
    const chosen = inbox.threads[Number(line) - 1];
    if (chosen) await show(chosen.id);
    else if (!open) notice = 'Open a conversation first: type its number.';
    else if (line.trim()) await sendReply(parley, open.thread.id, { body: line });
  }

  /** What goes wrong on the way is said on the screen; the inbox goes on. */
  const attempt = (work: Promise<void>) =>
    work
      .catch((error: unknown) => {
        notice = describe(error);
      })
      .finally(draw);

  const onChange = (change?: InboxChange) => {
    draw();
    if (open && (!change || change.threadId === open.thread.id)) void attempt(show(open.thread.id));
  };
  const onConnection = (isUp: boolean) => {
    isLive = isUp;
    draw();
  };

  keyboard.on('line', (line) => {
    notice = '';
    void attempt(obey(line));
  });
  keyboard.on('close', () => leaving.abort());
  await inbox.follow(onChange, { signal: leaving.signal, onConnection });
}

const describe = (error: unknown): string => {
  if (!(error instanceof ParleyError)) return String(error);
  const { code, message, details, requestId } = error;
  const faults = details.map(({ field, issue }) => `; ${field} ${issue}`).join('');
  return `${message} (${code})${faults}${requestId ? `, request ${requestId}` : ''}`;
};

if (!apiKey) {
  console.error('Set PARLEY_API_KEY to a key of your tenant; Parley keeps its first one in .data/api-key');
  process.exit(2);
}
await main({ url, apiKey, webSocketImpl: ImpatientWebSocket }).catch((error: unknown) => {
  console.error(describe(error));
  process.exitCode = 1;
});
process.exit();
