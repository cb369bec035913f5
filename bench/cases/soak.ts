import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createKeys } from '../support/api.js';
import type { Check, Figures, Result } from '../support/figures.js';
import { fill } from '../support/fill.js';
import { heapOf, INSPECTABLE } from '../support/heap.js';
import { pacing } from '../support/load.js';
import type { Options } from '../support/options.js';
import { posting, publishingQuietly } from '../support/publishing.js';
import { startReceiver } from '../support/receiver.js';
import { pick, restInbound, restOutbound } from '../support/requests.js';
import type { Run } from '../support/rounds.js';
import { openClient, type Stage } from '../support/stage.js';
import { kinds, register } from './deliver.js';
import { audienceOf, inThreads } from './live.js';
import { ofList, ofThread, reading, threadsOf } from './read.js';

const FILLING = { tenants: 20, threads: 100, messages: 20 };
/** Slow enough that everything is delivered at once, on the smallest machine. */
const INBOUND_A_SECOND = 20;
const OUTBOUND_A_SECOND = 20;
const LISTENED_THREADS = 20;
const READ_CONNECTIONS = 1;
/** The heap and the rates of the minutes before it are those of a program that is still getting warm. */
const WARM_MINUTE = 2;
const DRAIN_TIMEOUT_MS = 60_000;

/** Everything at the same time, in one process, for minutes: nothing may grow, fail or slow down. */
export async function soak(stage: Stage, { minutes }: Options): Promise<Result> {
  if (minutes <= WARM_MINUTE) throw new Error(`The soak takes more than ${WARM_MINUTE} minutes`);
  const database = await stage.database('soak');
  await fill(database, FILLING);
  const parley = await stage.parley(database, { ROLE: 'all' }, INSPECTABLE);
  const tenants = await createKeys(parley, FILLING.tenants);
  const receiver = await startReceiver();
  stage.onEnd(receiver.close);
  for (const kind of kinds) await register(parley, tenants, kind, receiver.url);
  const threads = await threadsOf(parley, tenants);
  const listened = threads.slice(0, LISTENED_THREADS);
  const audience = await audienceOf(stage, parley, listened);

  const loads: Readonly<Record<string, Run>> = {
    inbound: pacing(parley.url, INBOUND_A_SECOND, () =>
      restInbound(pick(tenants), 1 + randomInt(FILLING.threads)),
    ),
    outbound: pacing(parley.url, OUTBOUND_A_SECOND, () =>
      restOutbound(pick(tenants), 1 + randomInt(FILLING.threads)),
    ),
    'live events': publishingQuietly(posting(stage, parley.url, inThreads(listened)), audience.arrivals),
    'pages of threads': reading(parley.url, threads, ofThread, READ_CONNECTIONS),
    'lists of threads': reading(parley.url, threads, ofList, READ_CONNECTIONS),
  };
  const heaps: number[] = [];
  const minuteFigures: Record<string, Figures>[] = [];
  for (let minute = 1; minute <= minutes; minute++) {
    const figures = await Promise.all(
      Object.entries(loads).map(async ([name, run]) => [name, await run(60)] as const),
    );
    minuteFigures.push(Object.fromEntries(figures));
    heaps.push(await heapOf(parley));
    const rates = figures.map(([name, { perSecond }]) => `${perSecond.toFixed(0)} ${name}`).join(', ');
    console.log(
      `Minute ${minute}: heap ${((heaps.at(-1) ?? 0) / 2 ** 20).toFixed(1)} MB, per second ${rates}`,
    );
  }
  console.log();
  const pending = await untilDelivered(stage, database);

  const warm = minuteFigures[WARM_MINUTE - 1] ?? {};
  const last = minuteFigures.at(-1) ?? {};
  const rows = Object.keys(loads).flatMap((name) => {
    const [figures, before] = [last[name], warm[name]];
    if (!figures || !before) return [];
    const errors = minuteFigures.reduce((sum, minute) => sum + (minute[name]?.errors ?? 0), 0);
    return {
      case: `soak, ${name}`,
      connections: null,
      parley: { ...figures, errors },
      against: { name: `minute ${WARM_MINUTE}`, figures: { ...before, errors: 0 } },
      ratio: figures.perSecond / before.perSecond,
    };
  });
  const checks: Check[] = [
    ...rows.map(({ case: name, ratio }) => ({
      name: `${name}: rate of the last minute`,
      value: ratio,
      limit: 0.9,
      holds: 'at least' as const,
    })),
    {
      name: 'soak: heap of the last minute',
      value: (heaps.at(-1) ?? 0) / (heaps[WARM_MINUTE - 1] ?? 0),
      limit: 1.05,
      holds: 'at most',
    },
    { name: 'soak: deliveries left', value: pending, limit: 0, holds: 'at most' },
  ];
  return { rows, checks };
}

/** How many deliveries are pending when there are no more, or when the time is up. */
async function untilDelivered(stage: Stage, database: string): Promise<number> {
  const client = await openClient(stage, database);
  const deadline = performance.now() + DRAIN_TIMEOUT_MS;
  for (;;) {
    const { rows } = await client.query(
      "SELECT count(*)::int AS count FROM delivery WHERE status = 'pending'",
    );
    if (rows[0].count === 0 || performance.now() > deadline) return rows[0].count;
    await sleep(100);
  }
}
