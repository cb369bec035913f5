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
  const delivery = withSignedLinks(claimed, links);
  if (delivery.kind === 'signal') {
    const signal = signalBody(delivery);
    return signal && Buffer.from(JSON.stringify(signal));
  }
  const body = delivery.eventType.startsWith('thread.') ? threadBody(delivery) : messageBody(delivery);
  return body && bodyWithSignatureMember(body, secret);
}

/** Receivers have no key: their links to attachments need none. */
function withSignedLinks(delivery: ClaimedDelivery, links: AttachmentLinks): ClaimedDelivery {
  const { tenantId, message } = delivery;
  if (!message) return delivery;
  const content = showContent(message, (id) => links.signedUrl(tenantId, id)) as object;
  return { ...delivery, message: { ...message, content } };
}

/** "Workflow Signal" of the conversations document. */
function signalBody({
  tenantId,
  threadId,
  workflowId,
  participantId,
  message,
}: ClaimedDelivery): object | null {
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
      receivedAt: new Date(message.createdAt).toISOString(),
      content: message.content,
      direction: message.direction,
      metadata: message.metadata,
    }
  );
}

/** The documented webhook payload, with `event`, `messageId` and `status` (design, section 7). */
function messageBody(delivery: ClaimedDelivery): object | null {
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

function threadBody(delivery: ClaimedDelivery): object {
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
