import { describe, it } from 'vitest';
import { killInTheMiddleOfAPost, terminateUnderLoad } from '../support/worker-processes.js';

const show = (what: string, figures: unknown) =>
  process.stdout.write(`${what}: ${JSON.stringify(figures)}\n`);

describe.each(['postgres', 'redis'] as const)('workers with the queues on %s', (backend) => {
  it('take over from one that was killed in the middle of a POST (5 times)', async () => {
    for (let round = 1; round <= 5; round++) {
      show(`taken over after ms, ${backend}`, await killInTheMiddleOfAPost(backend));
    }
  }, 900_000);

  it('drain on SIGTERM under a load of 5,000 signals, and the last delivers what is left', async () => {
    const figures = await terminateUnderLoad({ backend, signals: 5_000, timeoutMs: 300_000 });
    show(`SIGTERM under load, ${backend}`, figures);
  }, 900_000);
});
