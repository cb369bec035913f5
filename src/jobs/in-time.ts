import { setTimeout as sleep } from 'node:timers/promises';

/** A queue that takes longer is away. */
const QUEUE_TIMEOUT_MS = 5_000;

/**
 * BullMQ waits for a Redis that is away, for as long as it takes; whoever asks has other things to do.
 * @throws when the queue does not answer in time. It may still do what was asked.
 */
export async function inTime<T>(asked: Promise<T>): Promise<T> {
  const answered = new AbortController();
  const tooLate = sleep(QUEUE_TIMEOUT_MS, undefined, { signal: answered.signal }).then(() => {
    throw new Error('The queue does not answer');
  });
  asked.catch(() => {});
  tooLate.catch(() => {});
  return Promise.race([asked, tooLate]).finally(() => answered.abort());
}
