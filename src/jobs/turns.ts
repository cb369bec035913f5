import type { Lane } from '../services/deliveries/dispatch.js';
import { Turn } from './turn.js';

/** How many lanes a process works on at once: so many tenants with dead receivers leave room for others. */
const LANES = 2_000;
/** Of one tenant. */
const LANES_OF_A_TENANT = 100;
/** Signals of one workflow that a process posts at once: a workflow that hangs leaves its tenant's others the rest. */
const SIGNALS_OF_A_WORKFLOW = 50;
/** While fewer are under way, a process begins itself on what it finds; beyond, it leaves that to all of them. */
const FEW_LANES = 20;
/** Lanes of one share beyond this are not remembered; the sweeper finds them again. */
const REMEMBERED = 10_000;

/** What may be under way at once of the process, of a tenant, or of a workflow. */
interface Share {
  readonly key: string;
  readonly limit: number;
  underWay: number;
  /** In the order in which they came. */
  readonly waiting: Map<string, Lane>;
}

/**
 * Shares this process among tenants and workflows. A lane whose workflow, tenant or process has its share under way
 * waits here, in memory: a process that dies loses nothing with it that the sweepers of others do not find.
 */
export class Turns {
  readonly #work: (lane: Lane, turn: Turn) => Promise<void>;
  readonly #shares = new Map<string, Share>();
  readonly #underWay = new Map<string, { readonly turn: Turn; readonly done: Promise<void> }>();
  /** In which share a lane waits. */
  readonly #waitingIn = new Map<string, Share>();
  #isStopped = false;

  constructor(work: (lane: Lane, turn: Turn) => Promise<void>) {
    this.#work = work;
  }

  /** Works on a lane as soon as it is its turn. One that is under way hears of it. */
  take(lane: Lane): void {
    if (this.#ring(lane) || this.#isStopped || this.#waitingIn.has(lane.laneId)) return;
    const shares = this.#sharesOf(lane);
    const full = shares.find((share) => share.underWay >= share.limit);
    if (full) this.#remember(lane, full);
    else this.#start(lane, shares);
  }

  /** Works on a lane at once, if that takes nothing from others. Answers false for one that is better rung for. */
  begin(lane: Lane): boolean {
    if (this.#ring(lane)) return true;
    if (this.#isStopped || this.#underWay.size >= FEW_LANES) return false;
    this.take(lane);
    return true;
  }

  /** Whether a lane is under way or waits here, so that nobody needs to ring for it. */
  has({ laneId }: Lane): boolean {
    return this.#underWay.has(laneId) || this.#waitingIn.has(laneId);
  }

  /**
   * Starts nothing more.
   * @returns the lanes that waited, for others
   */
  stop(): Lane[] {
    this.#isStopped = true;
    return [...this.#shares.values()].flatMap(({ waiting }) => [...waiting.values()]);
  }

  /** Resolves when what is under way is done. */
  async done(): Promise<void> {
    await Promise.all([...this.#underWay.values()].map(({ done }) => done));
  }

  /** Has a lane that is under way here hear of it. Answers false for any other. */
  #ring({ laneId }: Lane): boolean {
    const underWay = this.#underWay.get(laneId);
    underWay?.turn.ring();
    return underWay !== undefined;
  }

  #remember(lane: Lane, share: Share): void {
    if (share.waiting.size >= REMEMBERED) return;
    share.waiting.set(lane.laneId, lane);
    this.#waitingIn.set(lane.laneId, share);
  }

  #start(lane: Lane, shares: readonly Share[]): void {
    for (const share of shares) {
      share.underWay++;
      this.#shares.set(share.key, share);
    }
    const turn = new Turn(() => shares.some(({ waiting }) => waiting.size > 0));
    const done = this.#work(lane, turn).finally(() => {
      this.#underWay.delete(lane.laneId);
      for (const share of shares) share.underWay--;
      for (const share of shares) this.#letIn(share);
      if (turn.hear()) this.take(lane);
    });
    this.#underWay.set(lane.laneId, { turn, done });
  }

  /** Those that come in may have to wait in another share, and then leave their place to the next. */
  #letIn(share: Share): void {
    for (const [laneId, lane] of share.waiting) {
      if (share.underWay >= share.limit || this.#isStopped) break;
      share.waiting.delete(laneId);
      this.#waitingIn.delete(laneId);
      this.take(lane);
    }
    if (share.underWay === 0 && share.waiting.size === 0) this.#shares.delete(share.key);
  }

  /** From the narrowest to the widest: what waits for its own workflow or tenant does not stand before others. */
  #sharesOf({ tenantId, workflowId }: Lane): Share[] {
    const share = (key: string, limit: number): Share =>
      this.#shares.get(key) ?? { key, limit, underWay: 0, waiting: new Map() };
    return [
      ...(workflowId ? [share(`${tenantId}/${workflowId}`, SIGNALS_OF_A_WORKFLOW)] : []),
      share(tenantId, LANES_OF_A_TENANT),
      share('', LANES),
    ];
  }
}
