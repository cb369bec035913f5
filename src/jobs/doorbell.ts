import { z } from 'zod';
import type { Log } from '../log.js';
import type { Lane } from '../services/deliveries/dispatch.js';
import { inTime } from './in-time.js';
import type { QueueBackend } from './queue-backend.js';

/**
 * "These lanes have something to do", passed on by BullMQ to one worker of any process. It carries no work: the
 * worker claims that from the database, so a bell that is lost, repeated or late does no harm.
 */
export interface Doorbell {
  /**
   * Rings for lanes, with a few bells for however many.
   * @throws when the queue does not take the bells in time; the sweeper rings them again
   */
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
  /** Stops taking doorbells. */
  close(): Promise<void>;
}

const QUEUE = 'parley-lanes';
/** Lanes that are rung for together share so many bells, which are for as many workers, or more if they are many. */
const BELLS_A_RING = 10;
const LANES_A_BELL = 100;
/** Hearing a bell takes no time. One worker is not to hear all of a ring, so it takes a few at once. */
const BELLS_AT_ONCE = 4;
/** A bell that a killed worker had just heard rings again when it is found stalled. */
const LOCK_MS = 5_000;
const STALL_CHECK_MS = 5_000;
/** How soon the worker asks again after the connection was refused, as when Postgres restarts. */
const RETRY_DELAY_MS = 1_000;
const LOWEST_PRIORITY = 1_000;

const lanesSchema = z.array(
  z.object({ tenantId: z.string(), laneId: z.uuid(), workflowId: z.string().nullish() }),
);

export function openDoorbell(backend: QueueBackend, log: Log): Doorbell {
  const queue = backend.queue(QUEUE, {
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
  });
  const soon = new Map<string, Lane>();
  let isRingingSoon = false;

  async function ring(lanes: readonly Lane[]): Promise<void> {
    if (lanes.length > 0) await inTime(queue.addBulk(bellsFor(lanes)));
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
      await inTime(queue.add('lanes', [lane], { delay, deduplication: { id } })).catch(leaveToSweeper);
    },
    close: () => queue.close(),
  };
}

/**
 * The first lane of every tenant comes before the second of any, so a tenant with thousands of lanes does not
 * queue in front of the others.
 */
function bellsFor(lanes: readonly Lane[]) {
  const rungOfTenant = new Map<string, number>();
  const inTurn = lanes.map((lane) => {
    const place = rungOfTenant.get(lane.tenantId) ?? 0;
    rungOfTenant.set(lane.tenantId, place + 1);
    return { lane, place };
  });
  inTurn.sort((a, b) => a.place - b.place);
  const size = Math.min(LANES_A_BELL, Math.ceil(lanes.length / BELLS_A_RING));
  return Array.from({ length: Math.ceil(lanes.length / size) }, (_, index) => {
    const group = inTurn.slice(index * size, (index + 1) * size);
    return {
      name: 'lanes',
      data: group.map(({ lane }) => lane),
      opts: { priority: Math.min(group[0]?.place ?? 0, LOWEST_PRIORITY) },
    };
  });
}

/** Hears doorbells. Whoever hears one is to remember it, for it is gone then. */
export async function answerDoorbell(
  backend: QueueBackend,
  log: Log,
  hear: (lane: Lane) => void,
): Promise<DoorbellAnswerer> {
  const worker = await backend.worker(QUEUE, {
    process: async (data) => lanesSchema.parse(data).forEach(hear),
    onFailed: (lanes, error) => log.error({ err: error, lanes }, 'a doorbell was not heard'),
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
