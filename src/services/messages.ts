import { createHash } from 'node:crypto';
import stableStringify from 'safe-stable-stringify';
import { z } from 'zod';
import { invalidRequest, notFound, ParleyError } from '../errors.js';
import type { Thread } from '../generated/prisma/client.js';
import { decodeId, newId } from '../ids.js';
import { type Actor, requireScope } from './actor.js';
import { separateAttachments } from './attachments.js';
import { content, contentFaults } from './content.js';
import type { Context } from './context.js';
import { keyReused } from './ingestion/ingestion.js';
import { findKeptAnswers } from './ingestion/kept-answers.js';
import type { NewMessage, StoredMessage } from './ingestion/statement.js';
import { type Check, parseInput, tenantFault, text } from './input.js';
import type { MessageHead } from './message-heads.js';
import { searchTextOf } from './search-text.js';
import { metadata } from './threads.js';

export type { StoredMessage } from './ingestion/statement.js';

/** A message and its thread, by their stored ids. */
export interface MessageReference extends Pick<StoredMessage, 'messageId' | 'threadId'> {
  /** The message, where it is known without being read. */
  readonly message?: MessageHead | undefined;
}

/** What became of a message that was handed in, and the message itself unless its key had been used before. */
export type Receipt = StoredMessage & MessageReference;

const workflowId = text(1, 128).meta({
  description: 'The workflow that the conversation belongs to, by its name outside Parley.',
});
const participantId = text(1, 128).meta({ description: 'The person or system at the other end.' });
const channel = text(1, 64).meta({
  description:
    '`email`, `chat`, `sms`, `voice`, or any other word. It decides what the content must be made of.',
});
const channelKey = text(1, 320).meta({
  description: 'How the participant is reached on the channel: an email address, a telephone number.',
});
const common = {
  content,
  metadata: metadata.nullish().transform((value) => value ?? {}),
  idempotencyKey: text(1, 128)
    .meta({
      description: 'The same as the `Idempotency-Key` header. When both are given, they must be equal.',
    })
    .nullish()
    .transform((value) => value ?? null),
};

export const inboundInput = z
  .object({ workflowId, participantId, channel, channelKey, ...common })
  .meta({ id: 'InboundMessageInput', description: 'A message of a participant to a workflow.' });

/**
 * Takes in a message of a participant: creates, touches or reactivates its thread, stores the message, and
 * answers after the commit.
 * @param checks further rules, of what a transport adds to the input
 * @throws ParleyError `invalid_request`; `conflict` when the idempotency key was used with another message
 */
export async function receiveInbound(
  context: Context,
  actor: Actor,
  input: unknown,
  ...checks: Check[]
): Promise<Receipt> {
  requireScope(actor, 'conversations:write');
  const message = parseInput(inboundInput, input, tenantFault(actor), contentFaults, ...checks);
  return store(context, newMessage(actor, 'inbound', message, message, null));
}

async function store(context: Context, message: NewMessage): Promise<Receipt> {
  const stored = await context.ingestion.add(message);
  return stored.messageId === message.messageId ? new FirstReceipt(message, stored) : stored;
}

/** Of a message that was just stored, and is known without being read. */
class FirstReceipt implements Receipt {
  readonly messageId: string;
  readonly threadId: string;
  readonly position: number;
  readonly createdAt: Date;
  readonly #message: NewMessage;

  constructor(message: NewMessage, { messageId, threadId, position, createdAt }: StoredMessage) {
    this.messageId = messageId;
    this.threadId = threadId;
    this.position = position;
    this.createdAt = createdAt;
    this.#message = message;
  }

  get message(): MessageHead {
    return headOf(this.#message, this);
  }
}

/** A message that was just stored, as it would be read. */
const headOf = (message: NewMessage, { threadId, position, createdAt }: StoredMessage): MessageHead => ({
  id: message.messageId,
  tenantId: message.tenantId,
  threadId,
  position,
  direction: message.direction,
  channel: message.channel,
  channelKey: message.channelKey,
  content: JSON.parse(message.content),
  contentBytes: Buffer.byteLength(message.content),
  status: 'sent',
  metadata: JSON.parse(message.metadata),
  createdAt,
});

export const outboundInput = z
  .object({
    threadId: z.string().meta({ description: 'The thread to write to.' }).nullish(),
    workflowId: workflowId.nullish(),
    participantId: participantId.nullish(),
    channel: channel.nullish(),
    channelKey: channelKey.nullish(),
    ...common,
  })
  .meta({
    id: 'OutboundMessageInput',
    description:
      'A message of a workflow to a participant: with `threadId`, or with `workflowId` and `participantId` (the thread is created if needed). `channel` and `channelKey` default to those of the last inbound message of the thread.',
  });

type OutboundInput = z.output<typeof outboundInput>;

/**
 * Takes a workflow's message to a participant, addressed by thread or by workflow and participant (the thread
 * is created if needed). Channel and channel key default to those of the thread's last inbound message.
 * @param checks further rules, of what a transport adds to the input
 * @throws ParleyError `invalid_request` also when there is nothing to take the channel from; `not_found` for
 * an unknown `threadId`; `conflict` when the idempotency key was used with another message
 */
export async function sendOutbound(
  context: Context,
  actor: Actor,
  input: unknown,
  ...checks: Check[]
): Promise<Receipt> {
  requireScope(actor, 'conversations:write');
  const message = parseInput(
    outboundInput,
    input,
    tenantFault(actor),
    addressFaults,
    contentFaults,
    ...checks,
  );
  try {
    const thread = await addressedThread(context, actor, message);
    const target = resolveTarget(message, thread);
    return await store(
      context,
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
  const { content, attachments } = separateAttachments(target.channel, input.content);
  const filenames = attachments.map(({ filename }) => filename);
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
    content: JSON.stringify(content),
    searchText: searchTextOf(filenames.length > 0 ? { ...content, attachments: filenames } : content),
    attachments,
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
