import { invalidRequest } from '../errors.js';
import { receiveInbound, sendOutbound } from '../services/messages.js';
import type { RestRequest } from './routes.js';
import { storedMessageJson } from './shapes.js';

export async function postInbound(request: RestRequest) {
  return storedMessageJson(
    await receiveInbound(request.services, request.actor, withIdempotencyKey(request)),
  );
}

export async function postOutbound(request: RestRequest) {
  return storedMessageJson(await sendOutbound(request.services, request.actor, withIdempotencyKey(request)));
}

/** The key may come as a header or as a member of the body; both must not differ. */
function withIdempotencyKey({ body, headers }: RestRequest): unknown {
  const header = headers['idempotency-key'];
  if (header === undefined || typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  const { idempotencyKey } = body as { idempotencyKey?: unknown };
  if (idempotencyKey != null && idempotencyKey !== header) {
    throw invalidRequest([{ field: 'idempotencyKey', issue: 'differs from the Idempotency-Key header' }]);
  }
  return { ...body, idempotencyKey: header };
}
