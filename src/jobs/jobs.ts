import type { Config } from '../config.js';
import { type Database, isLockTimeout } from '../database/client.js';
import type { HttpClient } from '../delivery/http-client.js';
import type { Hints } from '../events/hints.js';
import { startPoller } from '../events/poller.js';
import type { Log } from '../log.js';
import type { SecretBox } from '../secret-box.js';
import type { AttachmentLinks } from '../services/attachment-links.js';
import { Batcher } from '../services/batcher.js';
import { dispatchEvents } from '../services/deliveries/dispatch.js';
import { type Outcome, settleDeliveries } from '../services/deliveries/settle.js';
import { findSilentLanes, releaseParkedSignals } from '../services/deliveries/sweep.js';
import { attempt } from './attempt.js';
import { answerDoorbell, openDoorbell } from './doorbell.js';
import { workOnLane } from './lane.js';

export interface JobsOptions {
  readonly config: Config;
  readonly log: Log;
  readonly database: Database;
  /** Gives up on a lock soon: outcomes of many tenants are recorded together, and none may hold up the others. */
  readonly shared: Database;
  readonly connectionString: string;
  readonly hints: Hints;
  readonly secrets: SecretBox;
  readonly attachmentLinks: AttachmentLinks;
  readonly http: HttpClient;
}

export interface Jobs {
  /**
   * Stops claiming, lets what is under way finish for up to `graceMs`, then gives back what is left, so that
   * another process takes it over at once.
   */
  stop(graceMs: number): Promise<void>;
}

const DISPATCH_POLL_MS = 1_000;
const SWEEP_INTERVAL_MS = 1_000;

/** Starts everything that turns events into deliveries and deliveries into requests. */
export async function startJobs(options: JobsOptions): Promise<Jobs> {
  const { log, database, shared, hints } = options;
  const cut = new AbortController();
  let stopping = false;

  const settlement = new Batcher<Outcome, void>({
    write: async (outcomes, lane) => {
      await settleDeliveries(lane === 'shared' ? shared : database, hints, outcomes);
      return outcomes.map(() => ({ status: 'fulfilled', value: undefined }));
    },
    tenantOf: (outcome) => outcome.tenantId,
    bytesOf: (outcome) => outcome.responseBody?.length ?? 0,
    isLockTimeout,
    maxItems: 200,
    maxBytes: 4 * 1024 * 1024,
    maxInFlight: 2,
  });

  const queue = { connectionString: options.connectionString, log };
  const doorbell = await openDoorbell(queue);
  const answerer = await answerDoorbell(queue, (lane) =>
    workOnLane(
      {
        database,
        log,
        doorbell,
        attempt: (delivery) => attempt(options, delivery, cut.signal),
        settle: (outcome) => settlement.add(outcome),
        isStopping: () => stopping,
      },
      lane,
    ),
  ).catch(async (error: unknown) => {
    await doorbell.close();
    throw error;
  });

  const dispatcher = startPoller({
    name: 'dispatcher',
    intervalMs: DISPATCH_POLL_MS,
    hints,
    log,
    work: async () => {
      const { eventCount, lanes } = await dispatchEvents(database);
      await doorbell.ring(lanes);
      return eventCount > 0;
    },
  });

  const sweeper = startPoller({
    name: 'sweeper',
    intervalMs: SWEEP_INTERVAL_MS,
    hints: null,
    log,
    work: async () => {
      await releaseParkedSignals(database);
      await doorbell.ring(await findSilentLanes(database));
      return false;
    },
  });

  return {
    async stop(graceMs) {
      stopping = true;
      await Promise.all([dispatcher.stop(), sweeper.stop()]);
      const timer = setTimeout(() => cut.abort(), graceMs);
      await answerer.close();
      clearTimeout(timer);
      await settlement.drained();
      await doorbell.close();
    },
  };
}
