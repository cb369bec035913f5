import type { Lane } from '../services/deliveries/dispatch.js';

/** How many lanes of one tenant a process works on at once. */
const LANES_OF_A_TENANT = 100;
/** How many signals of one workflow a process has under way at once: a workflow that hangs leaves others their half. */
const SIGNALS_OF_A_WORKFLOW = 50;
/** Lanes beyond this are not remembered; the sweeper finds them. */
const REMEMBERED = 1_000;

/** Work that may be under way for one tenant, or for one of its workflows. */
interface Share {
  readonly limit: number;
  underWay: number;
  /** The lanes that were turned away, in the order in which they came. */
  readonly turnedAway: Map<string, Lane>;
}

/**
 * Shares a process among tenants and workflows. A lane whose tenant or workflow has its share under way is turned
 * away, so that it does not hold a place, and rung for again when one of them is done.
 */
export class Turns {
  readonly #shares = new Map<string, Share>();
  readonly #ring: (lanes: readonly Lane[]) => void;

  constructor(ring: (lanes: readonly Lane[]) => void) {
    this.#ring = ring;
  }

  /** Works on the lane now, or remembers it. */
  async take(lane: Lane, work: () => Promise<void>): Promise<void> {
    const shares = this.#sharesOf(lane);
    const full = shares.find(([, { underWay, limit }]) => underWay >= limit);
    if (full) {
      const [, { turnedAway }] = full;
      if (turnedAway.size < REMEMBERED) turnedAway.set(lane.laneId, lane);
      return;
    }
    for (const [key, share] of shares) {
      share.underWay++;
      this.#shares.set(key, share);
    }
    try {
      await work();
    } finally {
      for (const [key, share] of shares) this.#leave(key, share);
    }
  }

  /** When nobody is left who would ring for the others, all are rung for: other processes may have had theirs. */
  #leave(key: string, share: Share): void {
    share.underWay--;
    const isLast = share.underWay === 0;
    if (isLast) this.#shares.delete(key);
    const next = isLast ? [...share.turnedAway.values()] : firstOf(share.turnedAway);
    for (const { laneId } of next) share.turnedAway.delete(laneId);
    if (next.length > 0) this.#ring(next);
  }

  #sharesOf({ tenantId, workflowId }: Lane): [string, Share][] {
    const share = (key: string, limit: number): [string, Share] => [
      key,
      this.#shares.get(key) ?? { limit, underWay: 0, turnedAway: new Map() },
    ];
    const tenant = share(tenantId, LANES_OF_A_TENANT);
    return workflowId ? [share(`${tenantId}/${workflowId}`, SIGNALS_OF_A_WORKFLOW), tenant] : [tenant];
  }
}

function firstOf(lanes: ReadonlyMap<string, Lane>): Lane[] {
  for (const lane of lanes.values()) return [lane];
  return [];
}
