import { randomUUID } from 'node:crypto';
import type { Database } from '../database/client.js';
import type { Log } from '../log.js';
import {
  type ClaimedDelivery,
  claimDeliveries,
  extendLease,
  HEARTBEAT_MS,
  releaseDeliveries,
} from '../services/deliveries/claim.js';
import type { Lane } from '../services/deliveries/dispatch.js';
import type { Outcome } from '../services/deliveries/settle.js';
import type { Attempted } from './attempt.js';
import type { Doorbell } from './doorbell.js';

export interface LaneWorker {
  readonly database: Database;
  readonly log: Log;
  readonly doorbell: Doorbell;
  readonly attempt: (delivery: ClaimedDelivery) => Promise<Attempted>;
  /** Records an outcome, together with those of other lanes. */
  readonly settle: (outcome: Outcome) => Promise<void>;
  /** True once the process stops: nothing new is claimed then. */
  readonly isStopping: () => boolean;
}

/** How many deliveries of one webhook are under way at once. */
const MAX_IN_FLIGHT = 20;
/** After this a lane that is still busy goes to the end of the queue. */
const TURN_MS = 10_000;

/**
 * Works on one lane: claims what is due, sends it, records what came of it, and looks again until nothing is
 * due. New deliveries are claimed as soon as earlier ones are done, so one slow answer does not hold up the rest.
 */
export async function workOnLane(worker: LaneWorker, lane: Lane): Promise<void> {
  const inFlight = new Set<Promise<void>>();
  const endOfTurn = Date.now() + TURN_MS;
  while (!worker.isStopping()) {
    if (Date.now() > endOfTurn) {
      await worker.doorbell.ring([lane]);
      break;
    }
    const claimed = await claimDeliveries(worker.database, lane, MAX_IN_FLIGHT - inFlight.size, randomUUID());
    for (const delivery of claimed) {
      const done = handle(worker, lane, delivery).finally(() => inFlight.delete(done));
      inFlight.add(done);
    }
    if (inFlight.size === 0) break;
    if (claimed.length === 0 || inFlight.size >= MAX_IN_FLIGHT) await Promise.race(inFlight);
  }
  await Promise.all(inFlight);
}

async function handle(worker: LaneWorker, lane: Lane, delivery: ClaimedDelivery): Promise<void> {
  const { tenantId, id, leaseToken } = delivery;
  const heartbeat = setInterval(() => {
    extendLease(worker.database, tenantId, leaseToken, [id]).catch((error: unknown) =>
      worker.log.warn({ err: error }, 'a lease could not be extended'),
    );
  }, HEARTBEAT_MS);
  try {
    const attempted = await worker.attempt(delivery);
    if ('release' in attempted) {
      await releaseDeliveries(worker.database, delivery, [id], attempted.release === 'parked');
    } else {
      await worker.settle(attempted.outcome);
      if (attempted.outcome.dueAt) await worker.doorbell.ringAt(lane, attempted.outcome.dueAt);
    }
  } catch (error) {
    // The lease runs out by itself, and whoever claims the delivery then tries it again.
    worker.log.error({ err: error, tenantId, delivery: id }, 'a delivery could not be worked on');
  } finally {
    clearInterval(heartbeat);
  }
}
