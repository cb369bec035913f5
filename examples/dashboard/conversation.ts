import { type Parley, request } from './client.js';
import { hasCode, sleep } from './errors.js';
import {
  ConversationDocument,
  type ConversationMessageFragment as ConversationMessage,
  SendReplyDocument,
} from './generated/documents.js';

export type { ConversationMessage };

const ATTEMPTS = 4;
const WAIT_MS = 500;

/** The last messages of a thread, oldest first; null when the thread is gone. */
export async function readConversation(
  parley: Parley,
  threadId: string,
  size = 20,
): Promise<readonly ConversationMessage[] | null> {
  const { thread } = await request(parley, ConversationDocument, { threadId, size });
  return thread?.messages.edges.map(({ node }) => node) ?? null;
}

/**
 * Sends a reply once, on the channel that the participant last wrote on.
 * @throws ParleyError `UNREACHABLE` after some attempts without an answer
 */
export async function sendReply(
  parley: Parley,
  threadId: string,
  content: Record<string, unknown>,
): Promise<ConversationMessage> {
  // The same key with every attempt: when only the answer was lost, the next attempt gets that answer.
  const input = { threadId, content, idempotencyKey: crypto.randomUUID() };
  for (let attempt = 1; ; attempt++) {
    try {
      const { sendOutboundMessage } = await request(parley, SendReplyDocument, { input });
      return sendOutboundMessage.message!;
    } catch (error) {
      if (attempt === ATTEMPTS || !hasCode(error, 'UNREACHABLE')) throw error;
      await sleep(WAIT_MS * attempt);
    }
  }
}
