import type { Config } from '../config.js';
import type { HttpClient, PostResult } from '../delivery/http-client.js';
import { delayBeforeAttempt } from '../delivery/retry-schedule.js';
import { webhookHeaders } from '../delivery/signing.js';
import type { Log } from '../log.js';
import type { SecretBox } from '../secret-box.js';
import type { AttachmentLinks } from '../services/attachment-links.js';
import type { ClaimedDelivery } from '../services/deliveries/claim.js';
import type { Outcome } from '../services/deliveries/settle.js';
import { webhookSecretContext } from '../services/webhooks.js';
import { handlerSecretContext } from '../services/workflow-handlers.js';
import { bodyOf, publicId } from './bodies.js';

/** What an attempt needs besides the delivery. */
export interface Sender {
  readonly config: Pick<Config, 'signalRetryScheduleSeconds' | 'webhookRetryScheduleSeconds'>;
  readonly http: HttpClient;
  readonly log: Log;
  readonly secrets: SecretBox;
  readonly attachmentLinks: AttachmentLinks;
}

/** What becomes of a claimed delivery: an outcome to record, or giving it back as it was. */
export type Attempted = { readonly outcome: Outcome } | { readonly release: 'parked' | 'aborted' };

/**
 * Sends a claimed delivery once. Whatever the receiver does is an outcome, not an exception.
 * @param signal ends the attempt, uncounted, when the process stops
 */
export async function attempt(
  sender: Sender,
  delivery: ClaimedDelivery,
  signal: AbortSignal,
): Promise<Attempted> {
  const { target } = delivery;
  if (!target) return { release: 'parked' };
  const secret = openSecret(sender.secrets, delivery, target);
  const body = bodyOf(delivery, secret, sender.attachmentLinks);
  const at = new Date();
  if (!body) return { outcome: toOutcome(sender, delivery, at, messageGone) };
  const result = await sender.http.post({
    url: target.url,
    body,
    signal,
    headers: {
      ...target.headers,
      'content-type': 'application/json',
      ...webhookHeaders({
        id: publicId(delivery),
        timestampSeconds: at.getTime() / 1_000,
        body,
        secrets: [secret],
      }),
    },
  });
  if (result.error === 'aborted') return { release: 'aborted' };
  const outcome = toOutcome(sender, delivery, at, result);
  logAttempt(sender.log, delivery, outcome);
  return { outcome };
}

type Result = Omit<PostResult, 'error'> & { readonly error: string | null };

/** The thread was deleted while its delivery was on the way to be sent. */
const messageGone: Result = {
  statusCode: null,
  durationMs: 0,
  error: 'message_deleted',
  responseBody: null,
  retryAfterMs: null,
};

function openSecret(
  secrets: SecretBox,
  delivery: ClaimedDelivery,
  target: { id: string; sealedSecret: string },
): string {
  const context =
    delivery.kind === 'signal' ? handlerSecretContext(target.id) : webhookSecretContext(target.id);
  return secrets.open(Buffer.from(target.sealedSecret, 'base64'), context);
}

function toOutcome(sender: Sender, delivery: ClaimedDelivery, at: Date, result: Result): Outcome {
  const attempts = delivery.attemptCount + 1;
  const delayMs =
    result === messageGone
      ? null
      : delayBeforeAttempt(scheduleOf(sender, delivery), attempts - delivery.scheduleStart);
  const status = result.error === null ? 'delivered' : delayMs === null ? 'failed' : 'pending';
  return {
    tenantId: delivery.tenantId,
    deliveryId: delivery.id,
    leaseToken: delivery.leaseToken,
    status,
    dueAt:
      status === 'pending' ? new Date(Date.now() + Math.max(delayMs ?? 0, result.retryAfterMs ?? 0)) : null,
    at,
    statusCode: result.statusCode,
    durationMs: Math.round(result.durationMs),
    error: result.error,
    responseBody: result.responseBody,
    details: {
      [delivery.kind === 'signal' ? 'signalId' : 'deliveryId']: publicId(delivery),
      attempts,
      ...(result.statusCode !== null && { statusCode: result.statusCode }),
      ...(result.error !== null && { error: result.error }),
    },
  };
}

const scheduleOf = ({ config }: Sender, { kind }: ClaimedDelivery) =>
  kind === 'signal' ? config.signalRetryScheduleSeconds : config.webhookRetryScheduleSeconds;

/** One line per attempt, with everything that is asked for when a delivery is looked into; no bodies, no secrets. */
function logAttempt(log: Log, delivery: ClaimedDelivery, outcome: Outcome): void {
  const line = {
    tenantId: delivery.tenantId,
    id: publicId(delivery),
    event: delivery.eventType,
    host: URL.parse(delivery.target?.url ?? '')?.host,
    attempt: delivery.attemptCount + 1,
    status: outcome.status,
    statusCode: outcome.statusCode,
    durationMs: outcome.durationMs,
    error: outcome.error,
    nextAttemptAt: outcome.dueAt,
  };
  if (outcome.status === 'failed') log.warn(line, 'delivery failed');
  else log.info(line, outcome.status === 'delivered' ? 'delivered' : 'delivery will be tried again');
}
