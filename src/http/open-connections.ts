import type { Config } from '../config.js';
import type { Actor } from '../services/actor.js';
import type { KeyWatch } from '../services/key-watch.js';

/** What keys have open on this process: connections that last, and subscriptions. */
export interface OpenConnections {
  /**
   * Counts a WebSocket or an event stream until the returned function is called; undefined when its key has too many.
   * @param onRefused called once when the key is no longer good
   */
  connect(actor: Actor, onRefused: () => void): (() => void) | undefined;
  /** Counts a subscription or an event stream, likewise. */
  subscribe(actor: Actor): (() => void) | undefined;
}

export function createOpenConnections(
  config: Pick<Config, 'maxConnectionsPerKey' | 'maxSubscriptionsPerKey'>,
  keyWatch: KeyWatch,
): OpenConnections {
  const connections = new Places(config.maxConnectionsPerKey);
  const subscriptions = new Places(config.maxSubscriptionsPerKey);
  return {
    connect(actor, onRefused) {
      const leave = connections.take(actor.keyId);
      if (!leave) return undefined;
      const stopWatching = keyWatch.watch(actor, onRefused);
      return () => {
        leave();
        stopWatching();
      };
    },
    subscribe: ({ keyId }) => subscriptions.take(keyId),
  };
}

/** So many places for each key; null: as many as it likes. */
class Places {
  readonly #taken = new Map<string, number>();

  constructor(readonly limit: number | null) {}

  /** Takes a place and answers with how to give it back, once; undefined when the key has none left. */
  take(key: string): (() => void) | undefined {
    const count = this.#taken.get(key) ?? 0;
    if (this.limit !== null && count >= this.limit) return undefined;
    this.#taken.set(key, count + 1);
    let isTaken = true;
    return () => {
      if (isTaken) this.#giveBack(key);
      isTaken = false;
    };
  }

  #giveBack(key: string): void {
    const left = (this.#taken.get(key) ?? 1) - 1;
    if (left > 0) this.#taken.set(key, left);
    else this.#taken.delete(key);
  }
}
