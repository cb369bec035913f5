import { type Check, isObject } from '../services/input.js';
import { getMessageWithLogs, listMessagesByPosition } from '../services/message-pages.js';
import { updateMessageStatus } from '../services/message-status.js';
import { receiveInbound, sendOutbound } from '../services/messages.js';
import { sendEventCursor } from './event-cursor.js';
import type { RestRequest } from './route.js';
import { messageJson, storedMessageJson } from './shapes.js';

export async function postInbound(request: RestRequest) {
  const { services, actor } = request;
  return storedMessageJson(await receiveInbound(services, actor, ...withIdempotencyKey(request)));
}

export async function postOutbound(request: RestRequest) {
  const { services, actor } = request;
  return storedMessageJson(await sendOutbound(services, actor, ...withIdempotencyKey(request)));
}

export async function listThreadMessages(request: RestRequest) {
  const { services, actor, params, query } = request;
  await sendEventCursor(request);
  const page = await listMessagesByPosition(services, actor, params.threadId ?? '', query);
  return { ...page, messages: page.messages.map((message) => messageJson(message, services)) };
}

export async function getMessageRoute(request: RestRequest) {
  const { services, actor, params } = request;
  await sendEventCursor(request);
  return messageJson(await getMessageWithLogs(services, actor, params.messageId ?? ''), services);
}

export async function putMessageStatus({ services, actor, params, body }: RestRequest) {
  return messageJson(await updateMessageStatus(services, actor, params.messageId ?? '', body), services);
}

/** What is UTF-8 among the header's bytes, which Node gives as Latin-1, means the same as in a body. */
function fromUtf8(latin1: string): string {
  const text = Buffer.from(latin1, 'latin1').toString();
  return text.includes('\ufffd') ? latin1 : text;
}

/** The key may come as a header or as a member of the body; both must not differ. */
function withIdempotencyKey({ body, headers }: RestRequest): [input: unknown, ...checks: Check[]] {
  const sent = headers['idempotency-key'];
  if (sent === undefined || !isObject(body)) return [body];
  const header = fromUtf8(String(sent));
  const member = body.idempotencyKey;
  const input = { ...body, idempotencyKey: header };
  if (member == null || member === header) return [input];
  const fault = { field: 'idempotencyKey', issue: 'differs from the Idempotency-Key header' };
  return [input, () => [fault]];
}
