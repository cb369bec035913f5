import type { Log } from '../log.js';
import type { Hints } from './hints.js';

export interface Poller {
  /** Resolves when the work in progress is done; nothing runs afterwards. */
  stop(): Promise<void>;
}

/**
 * Runs work again and again, never twice at once: at every hint, and every `intervalMs` in case a hint was lost.
 * @param work answers true when there is more to do at once
 * @param hints null to go by the clock alone
 */
export function startPoller(options: {
  readonly name: string;
  readonly intervalMs: number;
  readonly hints: Pick<Hints, 'onHint'> | null;
  readonly log: Log;
  readonly work: () => Promise<boolean>;
}): Poller {
  let stopped = false;
  let hinted = false;
  let wake = () => {};

  const stopListening = options.hints?.onHint(() => {
    hinted = true;
    wake();
  });

  async function run(): Promise<void> {
    while (!stopped) {
      hinted = false;
      const hasMore = await options.work().catch((error: unknown) => {
        options.log.error({ err: error, poller: options.name }, 'a background step failed; trying again');
        return false;
      });
      if (!hasMore && !hinted && !stopped) await pause();
    }
  }

  const pause = () =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(() => wake(), options.intervalMs);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const running = run();
  return {
    async stop() {
      stopped = true;
      stopListening?.();
      wake();
      await running;
    },
  };
}
