import { createKeys } from '../support/api.js';
import { type Result, type Row, ratioOf } from '../support/figures.js';
import { type Filling, fill } from '../support/fill.js';
import type { Options } from '../support/options.js';
import { startReceiver } from '../support/receiver.js';
import { graphqlInbound, restInbound } from '../support/requests.js';
import { compare, type Run } from '../support/rounds.js';
import { openClient, type Stage } from '../support/stage.js';
import { delivering, kinds, register } from './deliver.js';
import { ingesting } from './ingest.js';
import { audienceOf, inThreads, PUBLISHERS, publishing } from './live.js';
import { ofList, ofThread, READ_CONNECTIONS, reading, threadsOf } from './read.js';

const LARGE: Filling = { tenants: 100, threads: 1_000, messages: 10 };
/** What there is on the first day: just enough for a page to look the same. */
const SMALL: Filling = { tenants: 100, threads: 20, messages: 10 };
/** Of each tenant: so many threads take in messages. */
const BUSY_THREADS = 100;
const INGEST_CONNECTIONS = 128;

/** The cases with 1,000,000 messages in 100,000 threads of 100 tenants, against the same with next to nothing. */
export async function growth(stage: Stage, options: Options): Promise<Result> {
  const start = performance.now();
  const large = await stage.database('large');
  await fill(large, LARGE);
  console.log(`The large database was filled in ${Math.round((performance.now() - start) / 1_000)} s.\n`);
  const small = await stage.database('small');
  await fill(small, SMALL);
  const rows: Row[] = [];
  for (const runsOn of [deliveriesOn, requestsOn]) {
    await stage.scene(async (scene) => {
      const [onLarge, onSmall] = [await runsOn(scene, large), await runsOn(scene, small)];
      for (const [index, { name, connections, run }] of onLarge.entries()) {
        const against = { name: 'small database', run: onSmall[index]?.run ?? run };
        rows.push(await compare(options, { case: `growth, ${name}`, connections, parley: run, against }));
      }
    });
  }
  return { rows, checks: rows.map((row) => ratioOf(row, 0.8)) };
}

interface NamedRun {
  readonly name: string;
  readonly connections: number | null;
  readonly run: Run;
}

async function deliveriesOn(stage: Stage, database: string): Promise<NamedRun[]> {
  const receiver = await startReceiver();
  stage.onEnd(receiver.close);
  const parley = await stage.parley(database);
  await stage.parley(database, { ROLE: 'worker' });
  const tenants = await createKeys(parley, LARGE.tenants);
  const client = await openClient(stage, database);
  const runs: NamedRun[] = [];
  for (const kind of kinds) {
    await register(parley, tenants, kind, receiver.url);
    const run = delivering(client, receiver, kind, tenants.length);
    runs.push({ name: `deliver, ${kind}, Postgres`, connections: null, run });
  }
  return runs;
}

async function requestsOn(stage: Stage, database: string): Promise<NamedRun[]> {
  const parley = await stage.parley(database);
  const { url } = parley;
  const tenants = await createKeys(parley, LARGE.tenants);
  const threads = await threadsOf(parley, tenants);
  const listened = threads.filter(({ tenant }) => tenant === tenants[0]).slice(0, SMALL.threads);
  const audience = await audienceOf(stage, parley, listened);
  const ingest = (name: string, requestOf: typeof restInbound, connections: number): NamedRun => ({
    name,
    connections,
    run: ingesting(url, tenants, BUSY_THREADS, connections, requestOf),
  });
  return [
    ingest('ingest, REST', restInbound, 1),
    ingest('ingest, REST', restInbound, INGEST_CONNECTIONS),
    ingest('ingest, GraphQL', graphqlInbound, INGEST_CONNECTIONS),
    { name: 'read, thread', connections: READ_CONNECTIONS, run: reading(url, threads, ofThread) },
    { name: 'read, list of threads', connections: READ_CONNECTIONS, run: reading(url, threads, ofList) },
    {
      name: 'live',
      connections: PUBLISHERS,
      run: publishing(url, audience, inThreads(listened), PUBLISHERS),
    },
  ];
}
