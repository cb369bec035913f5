import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { PacedTask } from '../support/apart.js';
import { createKeys } from '../support/api.js';
import { type Figures, p99Of, type Result } from '../support/figures.js';
import { fill } from '../support/fill.js';
import type { Options } from '../support/options.js';
import { restInbound } from '../support/requests.js';
import { compare, type Run } from '../support/rounds.js';
import type { Stage } from '../support/stage.js';
import { ingesting } from './ingest.js';

const FLOOD_CONNECTIONS = 64;
const CALM_REQUESTS_A_SECOND = 10;
/** So few requests take longer to tell their p99. */
const LONGER = 3;
const THREADS = 500;
const APART = fileURLToPath(new URL('../support/apart.ts', import.meta.url));

/** How long the requests of a calm tenant take while another one sends as fast as it can. */
export async function flood(stage: Stage, options: Options): Promise<Result> {
  const database = await stage.database('flood');
  await fill(database, { tenants: 2, threads: 0, messages: 0 });
  const parley = await stage.parley(database);
  const [flooding, calm] = await createKeys(parley, 2);
  if (!flooding || !calm) throw new Error('There are no tenants');

  const aloneFor = pacingApart(stage, {
    url: parley.url,
    tenant: calm,
    threads: THREADS,
    perSecond: CALM_REQUESTS_A_SECOND,
  });
  const floodFor = ingesting(parley.url, [flooding], THREADS, FLOOD_CONNECTIONS, restInbound);
  const besideFlood: Run = async (seconds) => {
    const [figures, { errors }] = await Promise.all([aloneFor(seconds), floodFor(seconds)]);
    return { ...figures, errors: figures.errors + errors };
  };
  const row = await compare(
    { ...options, seconds: LONGER * options.seconds },
    {
      case: `flood, ${CALM_REQUESTS_A_SECOND} requests/s beside ${FLOOD_CONNECTIONS} connections of another tenant`,
      connections: 1,
      parley: besideFlood,
      against: { name: 'without the flood', run: aloneFor },
    },
  );
  return { rows: [row], checks: [p99Of(row, 3)] };
}

/** Paced requests from a process of their own: in this one their answers would wait behind those of the flood. */
function pacingApart(stage: Stage, task: Omit<PacedTask, 'seconds'>): Run {
  const sender = fork(APART);
  stage.onEnd(async () => sender.kill());
  const ended = once(sender, 'exit').then(() => {
    throw new Error('The process that sends as a calm tenant has ended');
  });
  ended.catch(() => {});
  return async (seconds) => {
    sender.send({ ...task, seconds } satisfies PacedTask);
    const [figures] = await Promise.race([once(sender, 'message'), ended]);
    return figures as Figures;
  };
}
