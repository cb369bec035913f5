import { randomInt } from 'node:crypto';
import { createKeys } from '../support/api.js';
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

  const rest =
    (connections: number): Run =>
    (seconds) =>
      drive({
        url: parley.url,
        connections,
        seconds,
        next: () => restInbound(pick(tenants), randomInt(threads)),
      });
  const graphql =
    (connections: number): Run =>
    (seconds) =>
      drive({
        url: parley.url,
        connections,
        seconds,
        next: () => graphqlInbound(pick(tenants), randomInt(threads)),
      });
  const byHand =
    (connections: number): Run =>
    (seconds) =>
      drive({
        url: reference.url,
        connections,
        seconds,
        next: () => referenceInbound(pick(tenants), randomInt(threads)),
      });

  const name = `ingest, ${tenantCount === 1 ? '1 tenant' : `${tenantCount} tenants`}`;
  const rows: Row[] = [];
  const checks: Check[] = [];
  const against = async (what: string, connections: number, ours: Run, other: string, theirs: Run) => {
    const row = await compare(options, {
      case: `${name}, ${what}`,
      connections,
      parley: ours,
      against: { name: other, run: theirs },
    });
    rows.push(row);
    return row;
  };
  const least = (row: Row, limit: number) => checks.push(ratioOf(row, limit));

  for (const connections of tenantCount === 1 ? [32, 128] : [1, 32, 128]) {
    const row = await against('REST', connections, rest(connections), 'reference', byHand(connections));
    const least1 = { 1: 0.6, 32: 1.3, 128: tenantCount === 1 ? 3 : 2.2 }[connections] ?? 0;
    least(row, least1);
    if (connections > 1) checks.push(p99Of(row, 1.2));
    if (tenantCount > 1)
      least(await against('GraphQL', connections, graphql(connections), 'REST', rest(connections)), 0.7);
  }
  if (tenantCount > 1) {
    const pgbench: Run = (seconds) =>
      runPgbench({ database: referenceDatabase, clients: 32, seconds, tenants: tenantCount, threads });
    least(await against('REST', 128, rest(128), 'pgbench, 32 clients', pgbench), 1);
  }
  return { rows, checks };
}
