import type { Job } from 'bullmq';
import type { Database } from '../database/client.js';
import type { PostResult } from '../delivery/http-client.js';
import { startPoller } from '../events/poller.js';
import { decodeId, encodeId } from '../ids.js';
import type { Log } from '../log.js';
import type { Lane } from '../services/deliveries/dispatch.js';
import { SIGNAL_EXPIRES_AFTER_MS } from '../services/deliveries/sweep.js';
import { wakeSignals } from '../services/deliveries/wake.js';
import { inTime } from './in-time.js';
import type { BackedQueue, QueueBackend } from './queue-backend.js';

/** The job's name, which is the signal's. */
export const JOB_NAME = 'InboundConversationMessage';

/** A signal on its way to a queue. */
export interface QueuedSignal {
  readonly tenantId: string;
  readonly queue: string;
  /** The signal's id in public, which is the job's. */
  readonly id: string;
  readonly data: object;
}

/** What came of a job, in the terms of a POST. */
export type JobResult = Omit<PostResult, 'error'> & { readonly error: string | null; readonly at: Date };

/** The BullMQ queues from which workers outside Parley take signals. */
export interface WorkflowQueues {
  /**
   * Adds the signal's job unless it is there, and otherwise looks what became of it.
   * @returns its result; or how long to wait before looking again, unless a finished job wakes the signal earlier
   */
  pass(signal: QueuedSignal): Promise<{ result: JobResult } | { waitMs: number }>;
  stop(): Promise<void>;
}

/** A finished job is removed when its result is recorded; this is for one that was forgotten in a crash. */
const KEEP_FINISHED = { age: 24 * 60 * 60 };
/** A job is looked at again after as long as it has been there, within these bounds: it may have vanished. */
const SHORTEST_WAIT_MS = 5_000;
const LONGEST_WAIT_MS = 60_000;

/** Finished jobs are asked for at first this often, and less and less while there are none. */
const SHORTEST_POLL_MS = 50;
const LONGEST_POLL_MS = 1_000;
const FINISHED_A_POLL = 100;
/** Longer than the longest wait: a queue in which signals of this process or another wait is not forgotten. */
const WATCHED_FOR_MS = 2.5 * LONGEST_WAIT_MS;
const RESPONSE_BODY_BYTES = 2_048;

interface WatchedQueue {
  readonly tenantId: string;
  readonly queue: BackedQueue;
  watchedUntil: number;
  pollMs: number;
  nextPollAt: number;
}

export interface WorkflowQueuesOptions {
  readonly backend: QueueBackend;
  readonly database: Database;
  readonly log: Log;
  readonly ring: (lanes: readonly Lane[]) => void;
}

export function openWorkflowQueues({ backend, database, log, ring }: WorkflowQueuesOptions): WorkflowQueues {
  const watched = new Map<string, WatchedQueue>();

  function watch(tenantId: string, name: string): WatchedQueue {
    const fullName = `parley.${tenantId}.${name}`;
    const now = Date.now();
    const known = watched.get(fullName);
    const queue = known ?? {
      tenantId,
      queue: backend.queue(fullName),
      watchedUntil: 0,
      pollMs: SHORTEST_POLL_MS,
      nextPollAt: now,
    };
    queue.watchedUntil = now + WATCHED_FOR_MS;
    watched.set(fullName, queue);
    return queue;
  }

  /** Wakes the signals of finished jobs, and removes the jobs whose results are recorded. */
  async function pollFinished(watchedQueue: WatchedQueue): Promise<void> {
    const { tenantId, queue, pollMs } = watchedQueue;
    const finished = await inTime(queue.getRanges(['completed', 'failed'], 0, FINISHED_A_POLL - 1, true));
    const ids = finished.flatMap((id) => decodeId('signal', id) ?? []);
    watchedQueue.pollMs = ids.length > 0 ? SHORTEST_POLL_MS : Math.min(pollMs * 2, LONGEST_POLL_MS);
    watchedQueue.nextPollAt = Date.now() + watchedQueue.pollMs;
    if (ids.length === 0) return;
    const { lanes, over } = await wakeSignals(database, tenantId, ids);
    ring(lanes);
    await Promise.all(over.map((id) => inTime(queue.remove(encodeId('signal', id)))));
  }

  const poller = startPoller({
    name: 'finished jobs',
    intervalMs: SHORTEST_POLL_MS,
    hints: null,
    log,
    work: async () => {
      const now = Date.now();
      for (const [name, queue] of watched) {
        if (queue.watchedUntil < now) watched.delete(name);
        else if (queue.nextPollAt <= now) await pollFinished(queue);
      }
      return false;
    },
  });

  return {
    async pass({ tenantId, queue: name, id, data }) {
      const watchedQueue = watch(tenantId, name);
      const { queue } = watchedQueue;
      const job = await inTime(queue.getJob(id));
      const state = job ? await inTime(job.getState()) : 'unknown';
      if (!job || state === 'unknown') {
        const kept = { removeOnComplete: KEEP_FINISHED, removeOnFail: KEEP_FINISHED };
        await inTime(queue.add(JOB_NAME, data, { jobId: id, attempts: 1, ...kept }));
        watchedQueue.pollMs = SHORTEST_POLL_MS;
        watchedQueue.nextPollAt = Date.now() + SHORTEST_POLL_MS;
        return { waitMs: SHORTEST_WAIT_MS };
      }
      if (state === 'completed') return { result: resultOf(job, null, toText(job.returnvalue)) };
      if (state === 'failed') {
        // Before the failure is recorded: what is found later counts as the result of the next attempt.
        await inTime(queue.remove(id));
        return { result: resultOf(job, 'job_failed', job.failedReason ?? null) };
      }
      const ageMs = Date.now() - job.timestamp;
      if (state !== 'active' && ageMs > SIGNAL_EXPIRES_AFTER_MS && (await inTime(queue.remove(id))) === 1) {
        return { result: resultOf(job, 'expired', null) };
      }
      return { waitMs: Math.min(Math.max(ageMs, SHORTEST_WAIT_MS), LONGEST_WAIT_MS) };
    },
    stop: () => poller.stop(),
  };
}

/** From when it was handed over until it was done. */
function resultOf(job: Job, error: string | null, said: string | null): JobResult {
  const bytes = said === null ? null : Buffer.from(said).subarray(0, RESPONSE_BODY_BYTES);
  return {
    at: new Date(job.timestamp),
    durationMs: (job.finishedOn ?? Date.now()) - job.timestamp,
    statusCode: null,
    error,
    responseBody: bytes && new TextDecoder().decode(bytes).replaceAll('\0', ''),
    retryAfterMs: null,
  };
}

const toText = (value: unknown): string | null => (value == null ? null : JSON.stringify(value));
