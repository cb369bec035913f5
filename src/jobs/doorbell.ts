import { z } from 'zod';
import type { Log } from '../log.js';
import type { Lane } from '../services/deliveries/dispatch.js';
import { inTime } from './in-time.js';
import type { QueueBackend } from './queue-backend.js';

/**
 * "This lane has something to do", passed on by BullMQ to one worker of any process. It carries no work: the
 * worker claims that from the database, so a doorbell that is lost, repeated or late does no harm.
 */
export interface Doorbell {
  /**
   * Rings once for each of the lanes that are not rung for already.
   * @throws when the queue does not take the bells in time; the sweeper rings them again
   */
  ring(lanes: readonly Lane[]): Promise<void>;
  /** Rings for lanes whose bells may have been lost: by a bell that a killed worker had just heard, for one. */
  ringAgain(lanes: readonly Lane[]): Promise<void>;
  /** Rings without anybody waiting for it. What fails is left to the sweeper. */
  ringSoon(lanes: readonly Lane[]): void;
  /**
   * Rings once at a later time; rings for the same lane and second are one. What fails is left to the sweeper.
   */
  ringAt(lane: Lane, at: Date): Promise<void>;
  close(): Promise<void>;
}

export interface DoorbellAnswerer {
  /** Stops taking doorbells. */
  close(): Promise<void>;
}

const QUEUE = 'parley-lanes';
/** Hearing a bell takes no time: it only says which lane is to have a turn. */
const BELLS_AT_ONCE = 20;
/** A bell that a killed worker had just heard is in the way of others for its lane until it is found stalled. */
const LOCK_MS = 5_000;
const STALL_CHECK_MS = 5_000;
/** Repeated bells of a lane within this time are one. */
const REPEATED_BELL_MS = 3_000;
/** How soon the worker asks again after the connection was refused, as when Postgres restarts. */
const RETRY_DELAY_MS = 1_000;
const LOWEST_PRIORITY = 1_000;

const laneSchema = z.object({
  tenantId: z.string(),
  laneId: z.uuid(),
  workflowId: z.string().nullish(),
});

export function openDoorbell(backend: QueueBackend, log: Log): Doorbell {
  const queue = backend.queue(QUEUE, {
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
  });
  const soon = new Map<string, Lane>();
  let isRingingSoon = false;

  const ring = (lanes: readonly Lane[]) => ringAs(lanes, ({ laneId }) => laneId);

  async function ringAs(lanes: readonly Lane[], bellOf: (lane: Lane) => string): Promise<void> {
    if (lanes.length === 0) return;
    const bells = inTurn(lanes).map(({ lane, priority }) => ({
      name: 'lane',
      data: lane,
      opts: { priority, deduplication: { id: bellOf(lane), keepLastIfActive: true } },
    }));
    // Sorted, because the queue locks a row per deduplication id and other rings lock the same ones.
    bells.sort((a, b) => (a.data.laneId < b.data.laneId ? -1 : 1));
    await inTime(queue.addBulk(bells));
  }

  const leaveToSweeper = (error: unknown) => log.debug({ err: error }, 'bells are left to the sweeper');

  async function ringTheseSoon(): Promise<void> {
    isRingingSoon = true;
    while (soon.size > 0) {
      const lanes = [...soon.values()];
      soon.clear();
      await ring(lanes).catch(leaveToSweeper);
    }
    isRingingSoon = false;
  }

  return {
    ring,
    ringAgain(lanes) {
      const now = Math.floor(Date.now() / REPEATED_BELL_MS);
      return ringAs(lanes, ({ laneId }) => `${laneId}@again-${now}`);
    },
    ringSoon(lanes) {
      for (const lane of lanes) soon.set(lane.laneId, lane);
      if (!isRingingSoon) void ringTheseSoon();
    },
    async ringAt(lane, at) {
      const id = `${lane.laneId}@${Math.ceil(at.getTime() / 1_000)}`;
      const delay = Math.max(0, at.getTime() - Date.now());
      await inTime(queue.add('lane', lane, { delay, deduplication: { id } })).catch(leaveToSweeper);
    },
    close: () => queue.close(),
  };
}

/**
 * The first bell of every tenant comes before the second of any, so a tenant with thousands of lanes does not
 * queue in front of the others.
 */
function inTurn(lanes: readonly Lane[]): { lane: Lane; priority: number }[] {
  const rungOfTenant = new Map<string, number>();
  return lanes.map((lane) => {
    const before = rungOfTenant.get(lane.tenantId) ?? 0;
    rungOfTenant.set(lane.tenantId, before + 1);
    return { lane, priority: Math.min(before, LOWEST_PRIORITY) };
  });
}

/** Hears doorbells. Whoever hears one is to remember it, for it is gone then. */
export async function answerDoorbell(
  backend: QueueBackend,
  log: Log,
  hear: (lane: Lane) => void,
): Promise<DoorbellAnswerer> {
  const worker = await backend.worker(QUEUE, {
    process: async (data) => hear(laneSchema.parse(data)),
    onFailed: (lane, error) => log.error({ err: error, lane }, 'a doorbell was not heard'),
    runRetryDelay: RETRY_DELAY_MS,
    concurrency: BELLS_AT_ONCE,
    lockDuration: LOCK_MS,
    stalledInterval: STALL_CHECK_MS,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  });
  worker.run().catch((error: unknown) => log.error({ err: error }, 'doorbells are not heard'));
  return { close: () => worker.close() };
}
