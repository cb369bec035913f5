import { type Database, isLockTimeout } from '../database/client.js';
import type { Hints } from '../events/hints.js';
import { startPoller } from '../events/poller.js';
import { encodeId } from '../ids.js';
import { Batcher } from '../services/batcher.js';
import { abandonDeliveries } from '../services/deliveries/abandon.js';
import {
  type Claim,
  type ClaimedDelivery,
  claimDeliveries,
  type Look,
} from '../services/deliveries/claim.js';
import { dispatchEvents } from '../services/deliveries/dispatch.js';
import { type Outcome, settleDeliveries } from '../services/deliveries/settle.js';
import { findSilentLanes, releaseParkedSignals, wakeExpiredSignals } from '../services/deliveries/sweep.js';
import { attempt, type Sender } from './attempt.js';
import { answerDoorbell, type Doorbell } from './doorbell.js';
import { startHeartbeat } from './heartbeat.js';
import { workOnLane } from './lane.js';
import { LargeContents } from './large-contents.js';
import type { QueueBackend } from './queue-backend.js';
import { Turns } from './turns.js';
import { openWorkflowQueues } from './workflow-queues.js';

export interface JobsOptions extends Omit<Sender, 'queues' | 'largeContents'> {
  /** Gives up on a lock soon: outcomes of many tenants are recorded together, and none may hold up the others. */
  readonly shared: Database;
  readonly queueBackend: QueueBackend;
  readonly doorbell: Doorbell;
  readonly hints: Hints;
}

export interface Jobs {
  /**
   * Stops claiming, lets what is under way finish for up to `graceMs`, then gives back what is left, so that
   * another process takes it over at once.
   */
  stop(graceMs: number): Promise<void>;
}

const DISPATCH_POLL_MS = 1_000;
const SWEEP_INTERVAL_MS = 1_000;
/** About what a delivery that is claimed takes; it may be more than ten times that. */
const CLAIMED_BYTES = 4_096;

/** Starts everything that turns events into deliveries and deliveries into requests. */
export async function startJobs(options: JobsOptions): Promise<Jobs> {
  const { log, database, shared, hints, queueBackend, doorbell } = options;
  const cut = new AbortController();
  let stopping = false;

  const claims = new Batcher<Look, Claim>({
    write: async (looks, lane) => {
      const claimed = await claimDeliveries(lane === 'shared' ? shared : database, looks);
      return claimed.map((value) => ({ status: 'fulfilled', value }));
    },
    tenantOf: ({ lane }) => lane.tenantId,
    // A thread has one to send at a time, unless some are sent again.
    bytesOf: ({ lane, limit }) => (lane.workflowId ? 1 : limit) * CLAIMED_BYTES,
    isLockTimeout,
    maxItems: 200,
    maxBytes: 4 * 1024 * 1024,
    maxInFlight: 2,
  });

  const settlement = new Batcher<Outcome, void>({
    write: async (outcomes, lane) => {
      const disabled = await settleDeliveries(lane === 'shared' ? shared : database, hints, outcomes);
      for (const { tenantId, webhookId, reason } of disabled) {
        log.warn({ tenantId, webhook: encodeId('webhook', webhookId), reason }, 'a webhook was disabled');
      }
      return outcomes.map(() => ({ status: 'fulfilled', value: undefined }));
    },
    tenantOf: (outcome) => outcome.tenantId,
    bytesOf: (outcome) => outcome.responseBody?.length ?? 0,
    isLockTimeout,
    maxItems: 200,
    maxBytes: 4 * 1024 * 1024,
    maxInFlight: 2,
    minItemsBeside: 32,
  });

  const heartbeat = startHeartbeat(database, log);
  const queues = openWorkflowQueues({ backend: queueBackend, database, log, ring: doorbell.ringSoon });
  const sender = { ...options, queues, largeContents: new LargeContents() };
  const worker = {
    database,
    log,
    doorbell,
    heartbeat,
    claim: (look: Look) => claims.add(look),
    attempt: (delivery: ClaimedDelivery) => attempt(sender, delivery, cut.signal),
    settle: (outcome: Outcome) => settlement.add(outcome),
    isStopping: () => stopping,
  };
  const turns = new Turns((lane, turn) =>
    workOnLane(worker, lane, turn).catch((error: unknown) =>
      log.error({ err: error, ...lane }, 'a lane failed'),
    ),
  );
  const answerer = await answerDoorbell(queueBackend, log, (lane) => turns.take(lane)).catch(
    async (error: unknown) => {
      await Promise.all([heartbeat.stop(), queues.stop()]);
      throw error;
    },
  );

  const dispatcher = startPoller({
    name: 'dispatcher',
    intervalMs: DISPATCH_POLL_MS,
    hints,
    log,
    work: async () => {
      const { eventCount, lanes } = await dispatchEvents(database);
      await doorbell.ring(lanes.filter((lane) => stopping || !turns.begin(lane)));
      return eventCount > 0;
    },
  });

  const sweeper = startPoller({
    name: 'sweeper',
    intervalMs: SWEEP_INTERVAL_MS,
    hints: null,
    log,
    work: async () => {
      await releaseParkedSignals(database);
      await wakeExpiredSignals(database);
      const silent = await findSilentLanes(database);
      await doorbell.ring(silent.filter((lane) => !turns.has(lane) && !turns.begin(lane)));
      return abandonDeliveries(database, hints);
    },
  });

  return {
    async stop(graceMs) {
      stopping = true;
      await Promise.all([dispatcher.stop(), sweeper.stop(), queues.stop()]);
      const timer = setTimeout(() => cut.abort(), graceMs);
      const closed = answerer.close();
      doorbell.ringSoon(turns.stop());
      await turns.done();
      clearTimeout(timer);
      await closed;
      await settlement.drained();
      await heartbeat.stop();
    },
  };
}
