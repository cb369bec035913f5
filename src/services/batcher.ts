/** What a batcher needs to know about its items, and how it writes them. */
export interface BatcherOptions<Item, Result> {
  /** Writes a batch: one outcome per item, in order. It rejects only if nothing of the batch was written. */
  readonly write: (items: readonly Item[], lane: 'shared' | 'own') => Promise<PromiseSettledResult<Result>[]>;
  readonly tenantOf: (item: Item) => string;
  readonly bytesOf: (item: Item) => number;
  /** True for an error that says "somebody else holds a lock": its tenants then go on in lanes of their own. */
  readonly isLockTimeout: (error: unknown) => boolean;
  readonly maxItems: number;
  /** Of one tenant, while another one is calm but not silent; otherwise no fewer. */
  readonly maxItemsBesideCalm?: number;
  readonly maxBytes: number;
  /** How many shared batches may be in flight. */
  readonly maxInFlight: number;
  /** So many items are worth a batch beside one that is in flight, which is no larger. By default no number is. */
  readonly minItemsBeside?: number;
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

interface Batch<Item, Result> {
  readonly items: readonly Waiting<Item, Result>[];
  readonly bytes: number;
}

/** A batch of more than this part of the bytes it may have takes so long that another would not get its locks in time. */
const LIGHT_PART = 1 / 8;
/** A tenant that nothing was written of for so long does not wait for what is written of others. */
const CALM_MS = 50;
/** For so long after a calm tenant's item the others' batches stay small, since its next one will soon come. */
const CONSIDERATE_MS = 5_000;
const NOBODY_CALM = { tenant: '', at: Number.NEGATIVE_INFINITY };
/** More tenants than this are looked through for those that have become calm. */
const REMEMBERED_TENANTS = 1_000;

/**
 * Writes items together that arrive at the same time, or while earlier ones are being written. When idle an item goes
 * at once and waits for nobody; under load batches grow by themselves. One large batch is less work than several small
 * ones that wait for each other's locks, so a second one goes beside it only when it is as large, and the first is no
 * heavy one: then the database has the next one at hand while answers and requests are worked on. A tenant that has been calm does not wait for that:
 * a flood of others, or a batch that takes long, does not hold it up. Nor does the process answer more of a flood at once than
 * a calm tenant's request can wait for. In a batch tenants take turns, so that no flood queues in front of the others.
 * A tenant whose rows are locked by someone else is moved to a lane of its own and holds up nobody.
 */
export class Batcher<Item, Result> {
  readonly #options: BatcherOptions<Item, Result>;
  readonly #queues = new Map<string, Waiting<Item, Result>[]>();
  /** When the last shared batch with something of a tenant was done; infinite while it is in flight. */
  readonly #lastDone = new Map<string, number>();
  /** The calm tenant that came last, with no more than went at once, and when. */
  #calm = NOBODY_CALM;
  readonly #ownLanes = new Set<string>();
  readonly #idle: (() => void)[] = [];
  #inFlight = 0;
  #waiting = 0;
  /** Of the last batch for all tenants. */
  #last = { count: 0, bytes: 0 };
  #isPumpDue = false;

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = options;
  }

  /** Resolves when the item is committed; rejects with its own error, whatever becomes of its neighbours. */
  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#enqueue({ item, resolve, reject });
      this.#pumpSoon();
    });
  }

  /** Resolves when nothing waits and nothing is in flight. */
  async drained(): Promise<void> {
    if (this.#isIdle()) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #isIdle(): boolean {
    return this.#inFlight === 0 && this.#ownLanes.size === 0 && this.#queues.size === 0;
  }

  #enqueue(waiting: Waiting<Item, Result>): void {
    const tenant = this.#options.tenantOf(waiting.item);
    const queue = this.#queues.get(tenant);
    this.#waiting++;
    if (queue) queue.push(waiting);
    else this.#queues.set(tenant, [waiting]);
  }

  /** Behind what else has arrived by now, so that it goes together. */
  #pumpSoon(): void {
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    setImmediate(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#inFlight < this.#options.maxInFlight) {
      const isForAll = this.#inFlight === 0 || this.#isWorthAnother();
      const batch = this.#take((tenant) => !this.#ownLanes.has(tenant) && (isForAll || this.#isCalm(tenant)));
      if (batch.items.length === 0) break;
      if (isForAll) this.#last = { count: batch.items.length, bytes: batch.bytes };
      const tenants = new Set(batch.items.map(({ item }) => this.#options.tenantOf(item)));
      this.#noteCalm(tenants);
      this.#note(tenants, Number.POSITIVE_INFINITY);
      this.#inFlight++;
      let isOver = false;
      const end = () => {
        if (isOver) return;
        isOver = true;
        this.#note(tenants, performance.now());
        this.#inFlight--;
      };
      const goOn = () => {
        if (this.#waiting < batch.items.length || this.#isConsiderate()) return;
        end();
        this.#pump();
      };
      void this.#writeShared(batch.items, goOn).finally(() => {
        end();
        this.#pumpSoon();
      });
    }
    if (this.#isIdle()) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** A tenant that comes again before it would be calm has begun a flood, or is a busy one that paused. */
  #noteCalm(tenants: ReadonlySet<string>): void {
    for (const tenant of tenants) {
      if (this.#isCalm(tenant) && !this.#queues.has(tenant)) this.#calm = { tenant, at: performance.now() };
      else if (tenant === this.#calm.tenant) this.#calm = NOBODY_CALM;
    }
  }

  #isWorthAnother(): boolean {
    const { minItemsBeside = Number.POSITIVE_INFINITY, maxBytes } = this.#options;
    return (
      this.#inFlight === 1 &&
      this.#waiting >= Math.max(minItemsBeside, this.#last.count) &&
      this.#last.bytes <= maxBytes * LIGHT_PART &&
      !this.#isConsiderate()
    );
  }

  #isConsiderate(): boolean {
    return performance.now() - this.#calm.at < CONSIDERATE_MS;
  }

  #isCalm(tenant: string): boolean {
    return performance.now() - (this.#lastDone.get(tenant) ?? Number.NEGATIVE_INFINITY) >= CALM_MS;
  }

  #note(tenants: ReadonlySet<string>, lastDone: number): void {
    for (const tenant of tenants) this.#lastDone.set(tenant, lastDone);
    if (this.#lastDone.size <= REMEMBERED_TENANTS) return;
    for (const tenant of this.#lastDone.keys()) if (this.#isCalm(tenant)) this.#lastDone.delete(tenant);
  }

  /** Takes one item of each tenant in turn, until the batch is full. At least one, however large it is. */
  #take(isEligible: (tenant: string) => boolean): Batch<Item, Result> {
    const { maxItems, maxItemsBesideCalm = maxItems, maxBytes } = this.#options;
    const isConsiderate = this.#isConsiderate();
    const items: Waiting<Item, Result>[] = [];
    const taken = new Map<string, number>();
    let bytes = 0;
    // A tenant that was served goes to the end of the map, where this loop comes upon it again.
    for (const [tenant, queue] of this.#queues) {
      const next = queue[0];
      const ofTenant = taken.get(tenant) ?? 0;
      const isShareTaken = isConsiderate && tenant !== this.#calm.tenant && ofTenant >= maxItemsBesideCalm;
      if (!next || isShareTaken || !isEligible(tenant)) continue;
      const bytesWithNext = bytes + this.#options.bytesOf(next.item);
      const isFull = items.length >= maxItems || bytesWithNext > maxBytes;
      if (isFull && items.length > 0) break;
      bytes = bytesWithNext;
      queue.shift();
      this.#waiting--;
      taken.set(tenant, ofTenant + 1);
      this.#queues.delete(tenant);
      if (queue.length > 0) this.#queues.set(tenant, queue);
      items.push(next);
    }
    return { items, bytes };
  }

  /**
   * @param goOn is called between writing and answering: when as much waits as was written, that is on its way before
   * the answers, which take Node about as long as the writing takes the database. Less waits for what the answers bring.
   */
  async #writeShared(batch: readonly Waiting<Item, Result>[], goOn: () => void): Promise<void> {
    const items = batch.map(({ item }) => item);
    let outcomes: readonly PromiseSettledResult<Result>[];
    try {
      outcomes = await this.#options.write(items, 'shared');
    } catch (error) {
      if (this.#options.isLockTimeout(error)) this.#moveToOwnLanes(batch);
      else await this.#writeOneByOne(batch, 'shared');
      return;
    }
    goOn();
    settle(batch, outcomes);
  }

  /** One bad item fails alone: its neighbours are written again without it. */
  async #writeOneByOne(batch: readonly Waiting<Item, Result>[], lane: 'shared' | 'own'): Promise<void> {
    for (const waiting of batch) {
      try {
        settle([waiting], await this.#options.write([waiting.item], lane));
      } catch (error) {
        if (lane === 'shared' && this.#options.isLockTimeout(error)) this.#moveToOwnLanes([waiting]);
        else waiting.reject(error);
      }
    }
  }

  #moveToOwnLanes(batch: readonly Waiting<Item, Result>[]): void {
    for (const waiting of batch) this.#enqueue(waiting);
    for (const tenant of new Set(batch.map(({ item }) => this.#options.tenantOf(item)))) {
      if (this.#ownLanes.has(tenant)) continue;
      this.#ownLanes.add(tenant);
      void this.#runOwnLane(tenant);
    }
  }

  /** Writes batches of this tenant only, until none of it waits; then it shares batches with others again. */
  async #runOwnLane(tenant: string): Promise<void> {
    for (;;) {
      const { items: batch } = this.#take((candidate) => candidate === tenant);
      if (batch.length === 0) break;
      try {
        settle(
          batch,
          await this.#options.write(
            batch.map(({ item }) => item),
            'own',
          ),
        );
      } catch (error) {
        if (this.#options.isLockTimeout(error)) for (const { reject } of batch) reject(error);
        else await this.#writeOneByOne(batch, 'own');
      }
    }
    this.#ownLanes.delete(tenant);
    this.#pumpSoon();
  }
}

function settle<Item, Result>(
  batch: readonly Waiting<Item, Result>[],
  outcomes: readonly PromiseSettledResult<Result>[],
): void {
  batch.forEach(({ resolve, reject }, index) => {
    const outcome = outcomes[index];
    if (outcome?.status === 'fulfilled') resolve(outcome.value);
    else reject(outcome?.reason ?? new Error('A batch was written without an outcome for each of its items'));
  });
}
