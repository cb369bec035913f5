import { randomInt } from 'node:crypto';
import { createKeys, type Tenant } from '../support/api.js';
import { type Check, p99Of, type Result, type Row, ratioOf } from '../support/figures.js';
import { fill } from '../support/fill.js';
import { drive } from '../support/load.js';
import type { Options } from '../support/options.js';
import { runPgbench } from '../support/pgbench.js';
import { graphqlInbound, pick, referenceInbound, restInbound } from '../support/requests.js';
import { compare, type Run } from '../support/rounds.js';
import type { Stage } from '../support/stage.js';

/** Of all tenants together; most messages come to a thread that is there already. */
const THREADS = 10_000;

/** What the rate is to be at least, in units of the reference's, by the number of tenants and connections. */
const LEAST: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  20: { 1: 0.6, 32: 1.3, 128: 2.2 },
  1: { 32: 1.3, 128: 3 },
};

/** Of 20 tenants and of one, by REST against a statement for each, and by GraphQL against REST. */
export async function ingest(stage: Stage, options: Options): Promise<Result> {
  const many = await stage.scene((scene) => ingestOf(scene, options, 20));
  const one = await stage.scene((scene) => ingestOf(scene, options, 1));
  return { rows: [...many.rows, ...one.rows], checks: [...many.checks, ...one.checks] };
}

async function ingestOf(stage: Stage, options: Options, tenantCount: number): Promise<Result> {
  const database = await stage.database(`ingest_${tenantCount}`);
  await fill(database, { tenants: tenantCount, threads: 0, messages: 0 });
  const referenceDatabase = await stage.copy(database, `ingest_${tenantCount}_reference`);
  const parley = await stage.parley(database);
  const tenants = await createKeys(parley, tenantCount);
  const reference = await stage.reference('server', { DATABASE_URL: referenceDatabase });
  const threads = THREADS / tenantCount;

  const name = `ingest, ${tenantCount === 1 ? '1 tenant' : `${tenantCount} tenants`}`;
  const byRest = (connections: number) => ingesting(parley.url, tenants, threads, connections, restInbound);
  const byGraphQL = (connections: number) =>
    ingesting(parley.url, tenants, threads, connections, graphqlInbound);
  const byHand = (connections: number) =>
    ingesting(reference.url, tenants, threads, connections, referenceInbound);
  const rows: Row[] = [];
  const checks: Check[] = [];
  const keep = (row: Row, least: number) => {
    rows.push(row);
    checks.push(ratioOf(row, least));
  };
  for (const [key, least] of Object.entries(LEAST[tenantCount] ?? {})) {
    const connections = Number(key);
    const row = await compare(options, {
      case: `${name}, REST`,
      connections,
      parley: byRest(connections),
      against: { name: 'reference', run: byHand(connections) },
    });
    keep(row, least);
    if (connections > 1) checks.push(p99Of(row, 1.2));
    if (tenantCount === 1) continue;
    const graphql = await compare(options, {
      case: `${name}, GraphQL`,
      connections,
      parley: byGraphQL(connections),
      against: { name: 'REST', run: byRest(connections) },
    });
    keep(graphql, 0.7);
  }
  if (tenantCount === 1) return { rows, checks };
  const pgbench = await compare(options, {
    case: `${name}, REST`,
    connections: 128,
    parley: byRest(128),
    against: {
      name: 'pgbench, 32 clients',
      run: (seconds) =>
        runPgbench({ database: referenceDatabase, clients: 32, seconds, tenants: tenantCount, threads }),
    },
  });
  keep(pgbench, 1);
  return { rows, checks };
}

/** @param threads of each tenant */
export const ingesting =
  (
    url: string,
    tenants: readonly Tenant[],
    threads: number,
    connections: number,
    requestOf: typeof restInbound,
  ): Run =>
  (seconds) =>
    drive({ url, connections, seconds, next: () => requestOf(pick(tenants), randomInt(threads)) });
