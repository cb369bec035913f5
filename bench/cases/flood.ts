import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { createKeys } from '../support/api.js';
import { Latencies, p99Of, type Result } from '../support/figures.js';
import { fill } from '../support/fill.js';
import { type Request, send } from '../support/load.js';
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
/** So that a late answer holds up no other request. */
const CONNECTIONS = 8;

/** How long the requests of a calm tenant take while another one sends as fast as it can. */
export async function flood(stage: Stage, options: Options): Promise<Result> {
  const database = await stage.database('flood');
  await fill(database, { tenants: 2, threads: 0, messages: 0 });
  const parley = await stage.parley(database);
  const [flooding, calm] = await createKeys(parley, 2);
  if (!flooding || !calm) throw new Error('There are no tenants');

  const aloneFor = pacing(parley.url, CALM_REQUESTS_A_SECOND, (number) =>
    restInbound(calm, number % THREADS),
  );
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

/** Sends so many requests a second, whether the earlier ones have been answered or not. */
export const pacing =
  (url: string, perSecond: number, requestOf: (number: number) => Request): Run =>
  async (seconds) => {
    const latencies = new Latencies();
    const client = new Pool(url, { connections: CONNECTIONS });
    const sent: Promise<string | null>[] = [];
    const start = performance.now();
    for (let number = 0; number < seconds * perSecond; number++) {
      const due = start + (number * 1_000) / perSecond;
      await sleep(due - performance.now());
      const answer = send(client, requestOf(number));
      sent.push(answer);
      void answer.then((fault) => fault ?? latencies.record(performance.now() - due));
    }
    const faults = (await Promise.all(sent)).filter((fault) => fault !== null);
    await client.close();
    return latencies.figures((performance.now() - start) / 1_000, faults.length);
  };
