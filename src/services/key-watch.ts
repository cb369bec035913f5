import { type Database, runStatement } from '../database/client.js';
import { rowsOfLists } from '../database/lists.js';
import { startPoller } from '../events/poller.js';
import type { Log } from '../log.js';
import type { Actor } from './actor.js';

/** Tells connections that last when the key that opened them is no longer good. */
export interface KeyWatch {
  /**
   * Calls the listener once, within seconds of the key's end (revoked, expired, deleted), or never when the returned
   * function is called first.
   */
  watch(actor: Pick<Actor, 'tenantId' | 'keyId'>, onRefused: () => void): () => void;
  stop(): Promise<void>;
}

const CHECK_MS = 1_000;

const FIND_GOOD_KEYS = `
SELECT k.id
FROM ${rowsOfLists('text, uuid')} AS w (tenant_id, id)
JOIN api_key k ON k.tenant_id = w.tenant_id AND k.id = w.id
WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())`;

/** One statement a second for all keys that have something open; none while there are none. */
export function startKeyWatch(database: Database, log: Log): KeyWatch {
  const watched = new Map<string, { readonly tenantId: string; readonly listeners: Set<() => void> }>();

  const poller = startPoller({
    name: 'key watch',
    intervalMs: CHECK_MS,
    hints: null,
    log,
    work: async () => {
      const asked = [...watched];
      if (asked.length === 0) return false;
      const rows = await runStatement<{ id: string }>(
        database,
        FIND_GOOD_KEYS,
        asked.map(([, { tenantId }]) => tenantId),
        asked.map(([keyId]) => keyId),
      );
      const good = new Set(rows.map(({ id }) => id));
      for (const [keyId, { listeners }] of asked) {
        if (good.has(keyId)) continue;
        watched.delete(keyId);
        for (const refuse of listeners) refuse();
      }
      return false;
    },
  });

  return {
    watch({ tenantId, keyId }, onRefused) {
      const key = watched.get(keyId) ?? { tenantId, listeners: new Set() };
      watched.set(keyId, key);
      // Of its own: the same function may be given twice.
      const listener = () => onRefused();
      key.listeners.add(listener);
      return () => {
        key.listeners.delete(listener);
        if (key.listeners.size === 0 && watched.get(keyId) === key) watched.delete(keyId);
      };
    },
    stop: () => poller.stop(),
  };
}
