import type { Database } from '../database/client.js';
import { startPoller } from '../events/poller.js';
import type { Log } from '../log.js';
import type { ClaimedDelivery } from '../services/deliveries/claim.js';
import { extendLeases, HEARTBEAT_MS } from '../services/deliveries/leases.js';

/** Keeps the leases of what this process has under way, all of them by one statement. */
export interface Heartbeat {
  /** Keeps a claim until the returned function is called. */
  hold(delivery: ClaimedDelivery): () => void;
  stop(): Promise<void>;
}

export function startHeartbeat(database: Database, log: Log): Heartbeat {
  const held = new Set<ClaimedDelivery>();
  const poller = startPoller({
    name: 'heartbeat',
    intervalMs: HEARTBEAT_MS,
    hints: null,
    log,
    work: async () => {
      if (held.size > 0) await extendLeases(database, [...held]);
      return false;
    },
  });
  return {
    hold(delivery) {
      held.add(delivery);
      return () => held.delete(delivery);
    },
    stop: () => poller.stop(),
  };
}
