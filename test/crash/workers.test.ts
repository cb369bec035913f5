import { describe, expect, it } from 'vitest';
import { hasRedis } from '../support/redis.js';
import {
  killBeforeTheDispatch,
  killBeforeTheRecord,
  killInTheMiddleOfAPost,
  terminateUnderLoad,
} from '../support/worker-processes.js';

const backends = hasRedis ? (['postgres', 'redis'] as const) : (['postgres'] as const);

describe.each(backends)('workers with the queues on %s', (backend) => {
  it('take over from one that was killed in the middle of a POST, within 15 s and under the same id', async () => {
    expect(await killInTheMiddleOfAPost(backend)).toBeLessThan(15_000);
  }, 120_000);

  it('repeat a signal once whose answer was not on record when one was killed', async () => {
    expect(await killBeforeTheRecord(backend)).toBe(2);
  }, 120_000);

  it('deliver what the api had only acknowledged when it was killed', async () => {
    await killBeforeTheDispatch(backend);
  }, 120_000);

  it('drain on SIGTERM under load, and the last delivers what is left, nothing twice in the record', async () => {
    const { drainMs } = await terminateUnderLoad({ backend, signals: 200, timeoutMs: 60_000 });
    expect(drainMs).toHaveLength(2);
  }, 180_000);
});
