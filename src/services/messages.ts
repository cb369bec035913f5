import { createHash } from 'node:crypto';
import stableStringify from 'safe-stable-stringify';
import { z } from 'zod';
import { invalidRequest, notFound, ParleyError } from '../errors.js';
import type { Message, Thread } from '../generated/prisma/client.js';
import { decodeId, newId } from '../ids.js';
import type { PageRequest } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import { content, contentFaults } from './content.js';
import type { Context } from './context.js';
import { keyReused } from './ingestion/ingestion.js';
import { findKeptAnswers, type NewMessage, type StoredMessage } from './ingestion/statement.js';
import { parseInput, tenantFault, text } from './input.js';
import { readPage } from './pages.js';
import { metadata, wholeNumber } from './threads.js';

export type { Message, MessageLog } from '../generated/prisma/client.js';
export type { StoredMessage } from './ingestion/statement.js';

/** A message and its thread, by their stored ids. */
export type MessageReference = Pick<StoredMessage, 'messageId' | 'threadId'>;

const id = text(1, 128);
const channel = text(1, 64);
const channelKey = text(1, 320);
const common = {
  content,
  metadata: metadata.nullish().transform((value) => value ?? {}),
  idempotencyKey: id.nullish().transform((value) => value ?? null),
};

const inboundInput = z.object({ workflowId: id, participantId: id, channel, channelKey, ...common });

/**
 * Takes in a message of a participant: creates, touches or reactivates its thread, stores the message, and
 * answers after the commit.
 * @throws ParleyError `invalid_request`; `conflict` when the idempotency key was used with another message
 */
export async function receiveInbound(context: Context, actor: Actor, input: unknown): Promise<StoredMessage> {
  requireScope(actor, 'conversations:write');
  const message = parseInput(inboundInput, input, tenantFault(actor), contentFaults);
  return context.ingestion.add(newMessage(actor, 'inbound', message, message, null));
}

const outboundInput = z.object({
  threadId: z.string().nullish(),
  workflowId: id.nullish(),
  participantId: id.nullish(),
  channel: channel.nullish(),
  channelKey: channelKey.nullish(),
  ...common,
});

type OutboundInput = z.output<typeof outboundInput>;

/**
 * Takes a workflow's message to a participant, addressed by thread or by workflow and participant (the thread
 * is created if needed). Channel and channel key default to those of the thread's last inbound message.
 * @throws ParleyError `invalid_request` also when there is nothing to take the channel from; `not_found` for
 * an unknown `threadId`; `conflict` when the idempotency key was used with another message
 */
export async function sendOutbound(context: Context, actor: Actor, input: unknown): Promise<StoredMessage> {
  requireScope(actor, 'conversations:write');
  const message = parseInput(outboundInput, input, tenantFault(actor), addressFaults, contentFaults);
  try {
    const thread = await addressedThread(context, actor, message);
    const target = resolveTarget(message, thread);
    return await context.ingestion.add(
      newMessage(actor, 'outbound', message, target, message.threadId ? (thread?.id ?? null) : null),
    );
  } catch (error) {
    if (!(error instanceof ParleyError)) throw error;
    // What a message defaults to may have changed since its key was first used; the first answer still stands.
    const kept = await keptAnswer(context, actor, message);
    if (kept) return kept;
    throw error;
  }
}

async function addressedThread(
  context: Context,
  actor: Actor,
  message: OutboundInput,
): Promise<Thread | null> {
  const { tenantId } = actor;
  if (message.threadId) {
    const threadId = decodeId('thread', message.threadId);
    const thread =
      threadId &&
      (await context.database.thread.findUnique({ where: { tenantId_id: { tenantId, id: threadId } } }));
    if (!thread) throw notFound('Thread');
    return thread;
  }
  const { workflowId, participantId } = message;
  if ((message.channel && message.channelKey) || !workflowId || !participantId) return null;
  return context.database.thread.findUnique({
    where: { tenantId_workflowId_participantId: { tenantId, workflowId, participantId } },
  });
}

function resolveTarget(message: OutboundInput, thread: Thread | null) {
  const channel = message.channel ?? thread?.replyChannel ?? '';
  const replyKey = channel === thread?.replyChannel ? thread.replyChannelKey : null;
  const target = {
    workflowId: thread?.workflowId ?? message.workflowId ?? '',
    participantId: thread?.participantId ?? message.participantId ?? '',
    channel,
    channelKey: message.channelKey ?? replyKey ?? '',
  };
  const missing = (['channel', 'channelKey'] as const).filter((field) => target[field] === '');
  const faults = [
    ...missing.map((field) => ({
      field,
      issue: 'is required: no inbound message of the thread to take it from',
    })),
    ...(message.channel ? [] : contentFaults({ channel: target.channel, content: message.content })),
  ];
  if (faults.length > 0) throw invalidRequest(faults);
  return target;
}

function newMessage(
  actor: Actor,
  direction: 'inbound' | 'outbound',
  input: OutboundInput,
  target: { workflowId: string; participantId: string; channel: string; channelKey: string },
  expectedThreadId: string | null,
): NewMessage {
  return {
    tenantId: actor.tenantId,
    direction,
    workflowId: target.workflowId,
    participantId: target.participantId,
    expectedThreadId,
    newThreadId: newId(),
    messageId: newId(),
    channel: target.channel,
    channelKey: target.channelKey,
    content: JSON.stringify(input.content),
    metadata: JSON.stringify(input.metadata),
    idempotencyKey: input.idempotencyKey,
    inputHash: input.idempotencyKey === null ? null : hashInput(input),
  };
}

/** The hash that tells whether two inputs under one key are the same, whatever the order of their members. */
function hashInput({ idempotencyKey, ...input }: OutboundInput): string {
  const given = Object.fromEntries(Object.entries(input).filter(([, value]) => value != null));
  return createHash('sha256')
    .update(stableStringify(given) ?? '')
    .digest('hex');
}

async function keptAnswer(
  context: Context,
  actor: Actor,
  message: OutboundInput,
): Promise<StoredMessage | null> {
  if (message.idempotencyKey === null) return null;
  const { idempotencyKey } = message;
  const [kept] = await findKeptAnswers(context.database, [
    { tenantId: actor.tenantId, direction: 'outbound', idempotencyKey },
  ]);
  if (kept && kept.inputHash !== hashInput(message)) throw keyReused();
  return kept ?? null;
}

function addressFaults(body: Record<string, unknown>) {
  const isGiven = (field: string) => body[field] !== undefined && body[field] !== null;
  if (isGiven('threadId')) {
    return ['workflowId', 'participantId']
      .filter(isGiven)
      .map((field) => ({ field, issue: 'must not be given together with threadId' }));
  }
  if (!isGiven('workflowId') && !isGiven('participantId')) {
    return [{ field: 'threadId', issue: 'is required, or workflowId and participantId' }];
  }
  return ['workflowId', 'participantId']
    .filter((field) => !isGiven(field))
    .map((field) => ({ field, issue: 'is required when threadId is not given' }));
}

/** The message, or null when it is absent or another tenant's. */
export async function getMessage(context: Context, actor: Actor, messageId: string): Promise<Message | null> {
  requireScope(actor, 'conversations:read');
  const uuid = decodeId('message', messageId);
  return uuid
    ? context.database.message.findUnique({ where: { tenantId_id: { tenantId: actor.tenantId, id: uuid } } })
    : null;
}

/** The messages of a thread by position ascending. */
export async function listMessages(
  context: Context,
  actor: Actor,
  thread: Pick<Thread, 'tenantId' | 'id'>,
  direction: Message['direction'] | null,
  page: PageRequest,
) {
  requireScope(actor, 'conversations:read');
  const list = {
    name: `${actor.tenantId}/threads/${thread.id}/messages/${direction ?? ''}`,
    order: [{ field: 'position', kind: 'int', direction: 'asc' }],
  } as const;
  return readPage(list, page, ({ where, ...query }) =>
    context.database.message.findMany({
      where: { tenantId: actor.tenantId, threadId: thread.id, ...(direction && { direction }), ...where },
      ...query,
    }),
  );
}

const messagesQuery = z.object({
  page: wholeNumber(1, 1_000_000).default(1),
  pageSize: wholeNumber(1, 500).default(100),
});

/** The messages of a thread with their logs, by page number, for the documented REST route. */
export async function listMessagesByNumber(
  context: Context,
  actor: Actor,
  thread: Pick<Thread, 'id'>,
  input: unknown,
) {
  requireScope(actor, 'conversations:read');
  const { page, pageSize } = parseInput(messagesQuery, input);
  const rows = await context.database.message.findMany({
    where: { tenantId: actor.tenantId, threadId: thread.id },
    orderBy: { position: 'asc' },
    skip: (page - 1) * pageSize,
    take: pageSize + 1,
    include: { logs: { orderBy: { id: 'asc' } } },
  });
  return { messages: rows.slice(0, pageSize), page, pageSize, hasMore: rows.length > pageSize };
}
