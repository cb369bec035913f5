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
  /** @throws when the queue does not take the bells in time; the sweeper rings them again */
  ring(lanes: readonly Lane[]): Promise<void>;
  /** Rings without anybody waiting for it. What fails is left to the sweeper. */
  ringSoon(lanes: readonly Lane[]): void;
  /**
   * Rings once at a later time; rings for the same lane and second are one. What fails is left to the sweeper.
   */
  ringAt(lane: Lane, at: Date): Promise<void>;
  close(): Promise<void>;
}

export interface DoorbellAnswerer {
  /** Stops taking doorbells and waits for the lanes that are being worked on. */
  close(): Promise<void>;
}

const QUEUE = 'parley-lanes';
/** Far more than a tenant may have at once, so that many tenants with dead receivers leave room for others. */
const LANES_AT_ONCE = 2_000;
/** Lock and stall check together are how long a killed worker's doorbell stays unheard: at most 10 s. */
const LOCK_MS = 5_000;
const STALL_CHECK_MS = 5_000;
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

  async function ring(lanes: readonly Lane[]): Promise<void> {
    if (lanes.length === 0) return;
    const bells = inTurn(lanes).map(({ lane, priority }) => ({
      name: 'lane',
      data: lane,
      opts: { priority, deduplication: { id: lane.laneId, keepLastIfActive: true } },
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

/** Answers doorbells, many lanes at once. */
export async function answerDoorbell(
  backend: QueueBackend,
  log: Log,
  workOn: (lane: Lane) => Promise<void>,
): Promise<DoorbellAnswerer> {
  const worker = await backend.worker(QUEUE, {
    process: async (data) => workOn(laneSchema.parse(data)),
    onFailed: (lane, error) => log.error({ err: error, lane }, 'a lane failed'),
    runRetryDelay: RETRY_DELAY_MS,
    concurrency: LANES_AT_ONCE,
    lockDuration: LOCK_MS,
    stalledInterval: STALL_CHECK_MS,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  });
  worker.run().catch((error: unknown) => log.error({ err: error }, 'the lanes are not worked on'));
  return { close: () => worker.close() };
}
