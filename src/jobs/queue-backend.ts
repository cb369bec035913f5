import {
  createPostgresBackend,
  type IQueueBackend,
  type Job,
  Queue,
  type QueueOptions,
  Worker,
  type WorkerOptions,
  withBackend,
} from 'bullmq';
import { Redis } from 'ioredis';
import type { Log } from '../log.js';

/** What is asked of a queue, on either backend. */
export type BackedQueue = Pick<Queue, 'add' | 'addBulk' | 'getJob' | 'getRanges' | 'remove' | 'close'>;

/** A worker, on either backend. */
export interface BackedWorker {
  run(): Promise<void>;
  close(): Promise<void>;
}

export interface BackedWorkerOptions extends Omit<WorkerOptions, 'connection'> {
  readonly process: (data: unknown) => Promise<void>;
  readonly onFailed: (data: unknown, error: Error) => void;
}

/** BullMQ on Postgres or on Redis: the only place that knows which. */
export interface QueueBackend {
  /** A queue on the connection that all queues of this process share. */
  queue(name: string, options?: Omit<QueueOptions, 'connection'>): BackedQueue;
  /**
   * A worker that may be run.
   * @throws when Postgres cannot be reached: a worker remembers a first connection that failed for ever, and asks it
   *   again and again without ever letting go of the event loop
   */
  worker(name: string, options: BackedWorkerOptions): Promise<BackedWorker>;
  close(): Promise<void>;
}

export interface QueueBackendOptions {
  /** Of Parley's Postgres, which has the queues too unless there is a Redis. */
  readonly connectionString: string;
  readonly redisUrl: string | null;
  readonly log: Log;
}

/** Where the queues lie in Postgres. */
export const QUEUE_SCHEMA = 'parley_queue';

const PRODUCER_CONNECTIONS = 3;
const WORKER_CONNECTIONS = 10;
/** Redis that is away is asked for again this often. */
const RECONNECT_MS = 500;
/** A fault that goes on, like a Redis that stays away, is said this often. */
const REPORT_INTERVAL_MS = 10_000;

/**
 * Opens the backend. Postgres has to be there; Redis may be away, now and later: messages are stored all the same,
 * and their deliveries go out when it is back.
 * @throws when the queues' tables in Postgres cannot be made or reached
 */
export async function openQueueBackend(options: QueueBackendOptions): Promise<QueueBackend> {
  return options.redisUrl === null ? openOnPostgres(options) : openOnRedis(options.redisUrl, options.log);
}

async function openOnPostgres({ connectionString, log }: QueueBackendOptions): Promise<QueueBackend> {
  const bound = withBackend(createPostgresBackend);
  const connection = (max: number) => ({ connectionString, schema: QUEUE_SCHEMA, migrate: true, max });
  const root = new bound.Queue(ROOT, { connection: connection(PRODUCER_CONNECTIONS), skipMetasUpdate: true });
  const report = reporter(log);
  root.on('error', report);
  await whenReady(root);
  return {
    ...onRoot(root, report),
    async worker(name, { process, onFailed, ...more }) {
      const own = connection(WORKER_CONNECTIONS);
      const processJob = (job: Job) => process(job.data);
      const worker = new bound.Worker(name, processJob, { ...more, autorun: false, connection: own });
      worker.on('error', report).on('failed', (job, error) => onFailed(job?.data, error));
      await whenReady(worker);
      return worker;
    },
    close: () => root.close(),
  };
}

function openOnRedis(url: string, log: Log): QueueBackend {
  const report = reporter(log);
  // What is asked while Redis is away waits for it; whoever cannot wait sets a time of his own.
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => RECONNECT_MS });
  client.on('error', report);
  const root = new Queue(ROOT, { connection: client, skipMetasUpdate: true });
  root.on('error', report);
  return {
    ...onRoot(root, report),
    async worker(name, { process, onFailed, ...more }) {
      const processJob = (job: Job) => process(job.data);
      const worker = new Worker(name, processJob, { ...more, autorun: false, connection: client });
      worker.on('error', report).on('failed', (job, error) => onFailed(job?.data, error));
      return worker;
    },
    async close() {
      client.disconnect();
    },
  };
}

/** The queue that has the shared connection; it never has a job. */
const ROOT = 'parley';

const onRoot = (
  root: { getBackend(): IQueueBackend },
  report: (error: Error) => void,
): Pick<QueueBackend, 'queue'> => ({
  queue(name, options) {
    const open = () => root.getBackend().forQueue(name);
    const queue = new Queue(name, { skipMetasUpdate: true, ...options, connection: {} }, open);
    queue.on('error', report);
    return queue;
  },
});

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

function reporter(log: Log): (error: unknown) => void {
  let saidAt = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (Date.now() - saidAt < REPORT_INTERVAL_MS) return;
    saidAt = Date.now();
    log.warn({ err: error }, 'the queue connection has a fault');
  };
}
