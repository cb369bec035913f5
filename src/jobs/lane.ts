import type { Database } from '../database/client.js';
import type { Log } from '../log.js';
import type { Claim, ClaimedDelivery, Look } from '../services/deliveries/claim.js';
import type { Lane } from '../services/deliveries/dispatch.js';
import { releaseDelivery } from '../services/deliveries/leases.js';
import type { Outcome } from '../services/deliveries/settle.js';
import type { Attempted } from './attempt.js';
import type { Doorbell } from './doorbell.js';
import type { Heartbeat } from './heartbeat.js';
import type { Turn } from './turn.js';

export interface LaneWorker {
  readonly database: Database;
  readonly log: Log;
  readonly doorbell: Doorbell;
  readonly heartbeat: Heartbeat;
  /** Claims what is due of a lane, together with what is due of others. */
  readonly claim: (look: Look) => Promise<Claim>;
  readonly attempt: (delivery: ClaimedDelivery) => Promise<Attempted>;
  /** Records an outcome, together with those of other lanes. */
  readonly settle: (outcome: Outcome) => Promise<void>;
  /** True once the process stops: nothing new is claimed then. */
  readonly isStopping: () => boolean;
}

/** How many deliveries of one webhook are under way at once. */
const MAX_IN_FLIGHT = 20;
/** A webhook whose rate lets the next one through so soon is waited for; longer pauses are for other lanes. */
const LONGEST_WAIT_MS = 100;
/** Shorter pauses than this end by a timer of this process; longer ones by a doorbell that outlives it. */
const SHORTEST_DELAYED_RING_MS = 1_000;
/** After this a lane that is still busy makes room for others that wait. */
const TURN_MS = 10_000;

/**
 * Works on one lane: claims what is due, sends it, records what came of it, and looks again until nothing is
 * due. It looks whenever it is rung for or something is done, also if that was during a look, which may have been too
 * early to see what that lets through. So one slow answer does not hold up the rest.
 */
export async function workOnLane(worker: LaneWorker, lane: Lane, turn: Turn): Promise<void> {
  const inFlight = new Set<Promise<void>>();
  const endOfTurn = Date.now() + TURN_MS;
  while (!worker.isStopping()) {
    if (Date.now() > endOfTurn && turn.othersWait()) {
      turn.ring();
      break;
    }
    turn.hear();
    const { deliveries, pauseMs } = await worker.claim({ lane, limit: MAX_IN_FLIGHT - inFlight.size });
    for (const delivery of deliveries) {
      const done = handle(worker, lane, delivery).finally(() => {
        inFlight.delete(done);
        turn.ring();
      });
      inFlight.add(done);
    }
    if (inFlight.size === 0) {
      if (turn.hear()) continue;
      if (pauseMs === null) break;
      if (pauseMs > LONGEST_WAIT_MS) {
        await comeBack(worker, lane, pauseMs);
        break;
      }
    }
    await firstOf(inFlight.size < MAX_IN_FLIGHT ? [turn.rung()] : inFlight, pauseMs);
  }
  await Promise.all(inFlight);
}

/** Until one of them is fulfilled, or the pause is over. */
async function firstOf(awaited: Iterable<Promise<void>>, pauseMs: number | null): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const pause = new Promise<void>((resolve) => {
    if (pauseMs !== null) timer = setTimeout(resolve, pauseMs);
  });
  await Promise.race([...awaited, pause]);
  clearTimeout(timer);
}

/** Has the lane rung for when its pause is over. If this process is gone by then, the sweeper does it. */
async function comeBack({ doorbell }: LaneWorker, lane: Lane, pauseMs: number): Promise<void> {
  if (pauseMs >= SHORTEST_DELAYED_RING_MS) return doorbell.ringAt(lane, new Date(Date.now() + pauseMs));
  setTimeout(() => doorbell.ringSoon([lane]), pauseMs).unref();
}

async function handle(worker: LaneWorker, lane: Lane, delivery: ClaimedDelivery): Promise<void> {
  const letGo = worker.heartbeat.hold(delivery);
  try {
    const attempted = await worker.attempt(delivery);
    if ('outcome' in attempted) {
      await worker.settle(attempted.outcome);
      if (attempted.outcome.dueAt) await worker.doorbell.ringAt(lane, attempted.outcome.dueAt);
    } else {
      await releaseDelivery(worker.database, delivery, attempted.releaseForMs);
    }
  } catch (error) {
    // The lease runs out by itself, and whoever claims the delivery then tries it again.
    const { tenantId, id } = delivery;
    worker.log.error({ err: error, tenantId, delivery: id }, 'a delivery could not be worked on');
  } finally {
    letGo();
  }
}
