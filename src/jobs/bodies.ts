import { bodyWithSignatureMember } from '../delivery/signing.js';
import { encodeId } from '../ids.js';
import type { AttachmentLinks } from '../services/attachment-links.js';
import { showContent } from '../services/attachments.js';
import type { ClaimedDelivery } from '../services/deliveries/claim.js';

/** The id that a receiver sees in `webhook-id`; the same at every attempt. */
export const publicId = (delivery: Pick<ClaimedDelivery, 'kind' | 'id'>): string =>
  encodeId(delivery.kind === 'signal' ? 'signal' : 'delivery', delivery.id);

/**
 * The bytes to send. They are made of what does not change, so that every attempt carries the same ones; only the
 * links to attachments are new each time, because they expire.
 * @returns null when the message is gone
 */
export function bodyOf(claimed: ClaimedDelivery, secret: string, links: AttachmentLinks): Buffer | null {
  if (!isOfThread(claimed)) return bodyWithSignatureMember(testBody(claimed), secret);
  if (claimed.kind === 'signal') {
    const signal = signalOf(claimed, links);
    return signal && Buffer.from(JSON.stringify(signal));
  }
  const delivery = withSignedLinks(claimed, links);
  const body = delivery.eventType.startsWith('thread.') ? threadBody(delivery) : messageBody(delivery);
  return body && bodyWithSignatureMember(body, secret);
}

/**
 * "Workflow Signal" of the conversations document.
 * @returns null when the message is gone
 */
export const signalOf = (claimed: ClaimedDelivery, links: AttachmentLinks): object | null =>
  isOfThread(claimed) ? signalBody(withSignedLinks(claimed, links)) : null;

/** Everything but the test of a webhook. */
type OfThread = ClaimedDelivery & { readonly threadId: string };

const isOfThread = (delivery: ClaimedDelivery): delivery is OfThread => delivery.threadId !== null;

/** Receivers have no key: their links to attachments need none. */
function withSignedLinks(delivery: OfThread, links: AttachmentLinks): OfThread {
  const { tenantId, message } = delivery;
  if (!message) return delivery;
  const content = showContent(message, (id) => links.signedUrl(tenantId, id)) as object;
  return { ...delivery, message: { ...message, content } };
}

function signalBody({ tenantId, threadId, workflowId, participantId, message }: OfThread): object | null {
  return (
    message && {
      signalName: 'InboundConversationMessage',
      threadId: encodeId('thread', threadId),
      messageId: encodeId('message', message.id),
      tenantId,
      workflowId,
      channel: message.channel,
      channelKey: message.channelKey,
      participantId,
      receivedAt: message.createdAt.toISOString(),
      content: message.content,
      direction: message.direction,
      metadata: message.metadata,
    }
  );
}

/** The documented webhook payload, with `event`, `messageId` and `status` (design, section 7). */
function messageBody(delivery: OfThread): object | null {
  const { tenantId, threadId, workflowId, participantId, message, occurredAt, eventType, data } = delivery;
  return (
    message && {
      event: eventType,
      threadId: encodeId('thread', threadId),
      messageId: encodeId('message', message.id),
      tenantId,
      workflowId,
      participantId,
      channel: message.channel,
      channelKey: message.channelKey,
      content: message.content,
      direction: message.direction,
      status: data?.status,
      metadata: message.metadata,
      timestamp: occurredAt.toISOString(),
    }
  );
}

function testBody({ tenantId, target, occurredAt, eventType }: ClaimedDelivery): object {
  return {
    event: eventType,
    webhookId: target && encodeId('webhook', target.id),
    tenantId,
    timestamp: occurredAt.toISOString(),
  };
}

function threadBody(delivery: OfThread): object {
  const { tenantId, threadId, workflowId, participantId, occurredAt, eventType, data } = delivery;
  return {
    event: eventType,
    threadId: encodeId('thread', threadId),
    tenantId,
    workflowId,
    participantId,
    status: data?.status,
    metadata: data?.metadata,
    timestamp: occurredAt.toISOString(),
  };
}
