import type { Config } from '../config.js';
import type { Database } from '../database/client.js';
import type { HttpClient, PostResult } from '../delivery/http-client.js';
import { delayBeforeAttempt } from '../delivery/retry-schedule.js';
import { webhookHeaders } from '../delivery/signing.js';
import type { Log } from '../log.js';
import type { SecretBox } from '../secret-box.js';
import type { AttachmentLinks } from '../services/attachment-links.js';
import { type ClaimedDelivery, contentOf } from '../services/deliveries/claim.js';
import type { Outcome } from '../services/deliveries/settle.js';
import { SIGNAL_EXPIRES_AFTER_MS } from '../services/deliveries/sweep.js';
import type { Metrics } from '../services/metrics.js';
import { openSigningSecrets, webhookSecretContext } from '../services/webhook-secrets.js';
import { handlerSecretContext } from '../services/workflow-handlers.js';
import { bodyOf, publicId, signalOf } from './bodies.js';
import type { LargeContents } from './large-contents.js';
import type { WorkflowQueues } from './workflow-queues.js';

/** What an attempt needs besides the delivery. */
export interface Sender {
  readonly config: Pick<Config, 'signalRetryScheduleSeconds' | 'webhookRetryScheduleSeconds'>;
  readonly database: Database;
  readonly http: HttpClient;
  readonly largeContents: LargeContents;
  readonly log: Log;
  readonly secrets: SecretBox;
  readonly attachmentLinks: AttachmentLinks;
  readonly metrics: Pick<Metrics, 'countAttempt'>;
  readonly queues: WorkflowQueues;
}

/** What becomes of a claimed delivery: an outcome to record, or giving it back as it was. */
export type Attempted =
  | { readonly outcome: Outcome }
  /** Until it may be claimed again; null: until its workflow gets a handler. */
  | { readonly releaseForMs: number | null };

/**
 * Sends a claimed delivery once. Whatever the receiver does is an outcome, not an exception.
 * @param signal ends the attempt, uncounted, when the process stops
 */
export async function attempt(
  sender: Sender,
  delivery: ClaimedDelivery,
  signal: AbortSignal,
): Promise<Attempted> {
  const { tenantId, message } = delivery;
  if (!message || message.content !== null) return send(sender, delivery, signal);
  return sender.largeContents.withRoomFor(tenantId, message.contentBytes, async () => {
    if (signal.aborted) return { releaseForMs: 0 };
    const content = await contentOf(sender.database, tenantId, message.id);
    return send(sender, { ...delivery, message: content && { ...message, content } }, signal);
  });
}

async function send(sender: Sender, delivery: ClaimedDelivery, signal: AbortSignal): Promise<Attempted> {
  if (delivery.target) return post(sender, delivery, delivery.target, signal);
  if (delivery.queue !== null) return passToQueue(sender, delivery, delivery.queue);
  const isExpired = Date.now() - delivery.occurredAt.getTime() > SIGNAL_EXPIRES_AFTER_MS;
  return isExpired ? conclude(sender, delivery, new Date(), expired) : { releaseForMs: null };
}

async function post(
  sender: Sender,
  delivery: ClaimedDelivery,
  target: NonNullable<ClaimedDelivery['target']>,
  signal: AbortSignal,
): Promise<Attempted> {
  const context =
    delivery.kind === 'signal' ? handlerSecretContext(target.id) : webhookSecretContext(target.id);
  const secrets = openSigningSecrets(sender.secrets, context, target);
  const body = bodyOf(delivery, secrets[0], sender.attachmentLinks);
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
        secrets,
      }),
    },
  });
  return result.error === 'aborted' ? { releaseForMs: 0 } : conclude(sender, delivery, at, result);
}

/** The job's end wakes the signal, which is then claimed again. */
async function passToQueue(sender: Sender, delivery: ClaimedDelivery, queue: string): Promise<Attempted> {
  const data = signalOf(delivery, sender.attachmentLinks);
  if (!data) return { outcome: toOutcome(sender, delivery, new Date(), messageGone) };
  const { tenantId } = delivery;
  const passed = await sender.queues.pass({ tenantId, queue, id: publicId(delivery), data });
  if ('waitMs' in passed) return { releaseForMs: passed.waitMs };
  return conclude(sender, delivery, passed.result.at, passed.result);
}

function conclude(sender: Sender, delivery: ClaimedDelivery, at: Date, result: Result): Attempted {
  const outcome = toOutcome(sender, delivery, at, result);
  logAttempt(sender.log, delivery, outcome);
  sender.metrics.countAttempt({ ...outcome, kind: delivery.kind });
  return { outcome };
}

type Result = Omit<PostResult, 'error'> & { readonly error: string | null };

const neverSent = { statusCode: null, durationMs: 0, responseBody: null, retryAfterMs: null };
/** The thread was deleted while its delivery was on the way to be sent. */
const messageGone: Result = { ...neverSent, error: 'message_deleted' };
/** Nobody took the signal in a week. */
const expired: Result = { ...neverSent, error: 'expired' };

function toOutcome(sender: Sender, delivery: ClaimedDelivery, at: Date, result: Result): Outcome {
  const attempts = delivery.attemptCount + 1;
  // After a 410 its webhook is disabled.
  const isFinal =
    result.error === messageGone.error ||
    result.error === expired.error ||
    (delivery.kind === 'webhook' && result.statusCode === 410);
  const delayMs = isFinal
    ? null
    : delayBeforeAttempt(scheduleOf(sender, delivery), attempts - delivery.scheduleStart);
  const status = result.error === null ? 'delivered' : delayMs === null ? 'failed' : 'pending';
  return {
    tenantId: delivery.tenantId,
    deliveryId: delivery.id,
    leaseToken: delivery.leaseToken,
    webhook: delivery.kind === 'webhook' ? delivery.target : null,
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
    queue: delivery.queue ?? undefined,
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
