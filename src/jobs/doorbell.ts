import { createPostgresBackend, withBackend } from 'bullmq';
import { z } from 'zod';
import type { Log } from '../log.js';
import type { Lane } from '../services/deliveries/dispatch.js';

/**
 * "This lane has something to do", passed on by BullMQ to one worker of any process. It carries no work: the
 * worker claims that from the database, so a doorbell that is lost, repeated or late does no harm.
 */
export interface Doorbell {
  ring(lanes: readonly Lane[]): Promise<void>;
  /** Rings once at a later time; rings for the same lane and second are one. */
  ringAt(lane: Lane, at: Date): Promise<void>;
  close(): Promise<void>;
}

export interface DoorbellAnswerer {
  /** Stops taking doorbells and waits for the lanes that are being worked on. */
  close(): Promise<void>;
}

export interface QueueConnection {
  readonly connectionString: string;
  readonly log: Log;
}

const QUEUE = 'parley-lanes';
const SCHEMA = 'parley_queue';
const LANES_AT_ONCE = 100;
/** Lock and stall check together are how long a killed worker's doorbell stays unheard: at most 10 s. */
const LOCK_MS = 5_000;
const STALL_CHECK_MS = 5_000;
/** How soon the worker asks again after the connection was refused, as when Postgres restarts. */
const RETRY_DELAY_MS = 1_000;

const laneSchema = z.object({ tenantId: z.string(), laneId: z.uuid() });

const { Queue, Worker } = withBackend(createPostgresBackend);

const connectionOf = ({ connectionString }: QueueConnection, max: number) => ({
  connectionString,
  schema: SCHEMA,
  migrate: true,
  max,
});

/** @throws when the queue's tables cannot be made or reached */
export async function openDoorbell(connection: QueueConnection): Promise<Doorbell> {
  const queue = new Queue(QUEUE, {
    connection: connectionOf(connection, 3),
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
  });
  queue.on('error', (error) => connection.log.warn({ err: error }, 'the queue connection has a fault'));
  await whenReady(queue);
  return {
    async ring(lanes) {
      if (lanes.length === 0) return;
      // Sorted, because the queue locks a row per deduplication id and other rings lock the same ones.
      const sorted = [...lanes].sort((a, b) => (a.laneId < b.laneId ? -1 : 1));
      await queue.addBulk(
        sorted.map((lane) => ({
          name: 'lane',
          data: lane,
          opts: { deduplication: { id: lane.laneId, keepLastIfActive: true } },
        })),
      );
    },
    async ringAt(lane, at) {
      const id = `${lane.laneId}@${Math.ceil(at.getTime() / 1_000)}`;
      const delay = Math.max(0, at.getTime() - Date.now());
      await queue.add('lane', lane, { delay, deduplication: { id } });
    },
    close: () => queue.close(),
  };
}

/**
 * Answers doorbells, many lanes at once.
 * @throws when the queue's tables cannot be made or reached
 */
export async function answerDoorbell(
  connection: QueueConnection,
  workOn: (lane: Lane) => Promise<void>,
): Promise<DoorbellAnswerer> {
  const worker = new Worker(QUEUE, async (job) => workOn(laneSchema.parse(job.data)), {
    connection: connectionOf(connection, 10),
    autorun: false,
    runRetryDelay: RETRY_DELAY_MS,
    concurrency: LANES_AT_ONCE,
    lockDuration: LOCK_MS,
    stalledInterval: STALL_CHECK_MS,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  });
  worker.on('error', (error) => connection.log.warn({ err: error }, 'the queue connection has a fault'));
  worker.on('failed', (job, error) => connection.log.error({ err: error, lane: job?.data }, 'a lane failed'));
  await whenReady(worker);
  worker.run().catch((error: unknown) => connection.log.error({ err: error }, 'the lanes are not worked on'));
  return { close: () => worker.close() };
}

/**
 * BullMQ remembers a first connection that failed for ever, and a worker on it asks again and again without ever
 * letting go of the event loop. So it must not run before the first connection stands.
 */
async function whenReady(opened: {
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}): Promise<void> {
  try {
    await opened.waitUntilReady();
  } catch (error) {
    await opened.close();
    throw error;
  }
}
