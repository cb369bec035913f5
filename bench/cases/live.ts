import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type Dispatcher, Pool } from 'undici';
import { createKeys } from '../support/api.js';
import { Audience, type Seat, subscribing } from '../support/audience.js';
import { Latencies, type Result, ratioOf } from '../support/figures.js';
import { fill } from '../support/fill.js';
import { type Request, send } from '../support/load.js';
import type { Options } from '../support/options.js';
import { restInbound } from '../support/requests.js';
import { compare, type Run } from '../support/rounds.js';
import type { Parley, Stage } from '../support/stage.js';
import { type ThreadOfTenant, threadsOf } from './read.js';

const THREADS = 100;
const SOCKETS_OF_A_THREAD = 10;
/** Each publishes the next message when the last one has arrived everywhere, so what is measured can be kept up. */
export const PUBLISHERS = THREADS * SOCKETS_OF_A_THREAD;
/** Too few to keep the machine busy: what they wait for is the way of a message. */
const FEW_PUBLISHERS = 64;
/** Of the case that measures how late events are when there is room. */
const QUIET_MESSAGES_A_SECOND = 50;
const QUIET_CONNECTIONS = 8;

/** 1,000 sockets on 100 threads: how many events go out, and how long after the acknowledgement they arrive. */
export async function live(stage: Stage, options: Options): Promise<Result> {
  const database = await stage.database('live');
  await fill(database, { tenants: 1, threads: THREADS, messages: 1 });
  const parley = await stage.parley(database);
  const threads = await threadsOf(parley, await createKeys(parley, 1));
  const reference = await stage.reference('live', {});
  const ours = await audienceOf(stage, parley, threads);
  const theirs = await gather(
    stage,
    threads.map((_, index) => ({ url: `${reference.url}/${index}` })),
  );

  await publishing(parley.url, ours, inThreads(threads), 1)(1);
  const inReference = sendingOn(ours.lastEvent, THREADS);
  const atFullSpeed = (publishers: number) =>
    compare(options, {
      case: `live, ${THREADS * SOCKETS_OF_A_THREAD} sockets on ${THREADS} threads, full speed`,
      connections: publishers,
      parley: publishing(parley.url, ours, inThreads(threads), publishers),
      against: { name: 'reference', run: publishing(reference.url, theirs, inReference, publishers) },
    });
  const few = await atFullSpeed(FEW_PUBLISHERS);
  const row = await atFullSpeed(PUBLISHERS);
  const quiet = await compare(options, {
    case: `live, ${QUIET_MESSAGES_A_SECOND} messages/s`,
    connections: null,
    parley: publishingQuietly(parley.url, ours, inThreads(threads)),
    against: { name: 'reference', run: publishingQuietly(reference.url, theirs, inReference) },
  });
  return { rows: [few, row, quiet], checks: [ratioOf(row, 0.5)] };
}

/** Some sockets on each of the threads. */
export const audienceOf = (
  stage: Stage,
  { url }: Parley,
  threads: readonly ThreadOfTenant[],
): Promise<Audience> =>
  gather(
    stage,
    threads.map(({ tenant, id }) => subscribing(url, tenant, id)),
  );

async function gather(stage: Stage, seats: readonly Seat[]): Promise<Audience> {
  const audience = await Audience.gather(seats, SOCKETS_OF_A_THREAD);
  stage.onEnd(async () => audience.leave());
  return audience;
}

/** What is sent to have a numbered message arrive: messages go to the threads in turn. */
type Publication = (number: number) => Request;

export const inThreads =
  (threads: readonly ThreadOfTenant[]): Publication =>
  (number) => {
    const thread = threads[number % threads.length];
    if (!thread) throw new Error('There are no threads');
    return restInbound(thread.tenant, thread.number, `number ${number}`);
  };

/** The reference is given the very bytes that are to arrive. */
const sendingOn =
  (event: string, threads: number): Publication =>
  (number) => ({
    method: 'POST',
    path: `/publish/${number % threads}`,
    headers: { 'content-type': 'text/plain' },
    body: event.replace(/number \d+/, `number ${number}`),
  });

/** Counts all messages of the run, so that no two have the same number. */
let published = 0;

/** Events per second; the latencies are from the acknowledgement of a message to each of its arrivals. */
export const publishing =
  (url: string, audience: Audience, requestOf: Publication, publishers: number): Run =>
  async (seconds) => {
    const latencies = new Latencies();
    let errors = 0;
    const start = performance.now();
    const end = start + seconds * 1_000;
    const work = async () => {
      const client = new Client(url, { pipelining: 1 });
      while (performance.now() < end)
        errors += (await publishOne(client, audience, requestOf, latencies)) ? 0 : 1;
      await client.close();
    };
    await Promise.all(Array.from({ length: publishers }, work));
    return latencies.figures((performance.now() - start) / 1_000, errors);
  };

export const publishingQuietly =
  (url: string, audience: Audience, requestOf: Publication): Run =>
  async (seconds) => {
    const latencies = new Latencies();
    const client = new Pool(url, { connections: QUIET_CONNECTIONS });
    const sent: Promise<boolean>[] = [];
    const start = performance.now();
    for (let message = 0; message < seconds * QUIET_MESSAGES_A_SECOND; message++) {
      await sleep(start + (message * 1_000) / QUIET_MESSAGES_A_SECOND - performance.now());
      sent.push(publishOne(client, audience, requestOf, latencies));
    }
    const errors = (await Promise.all(sent)).filter((isGood) => !isGood).length;
    await client.close();
    return latencies.figures((performance.now() - start) / 1_000, errors);
  };

/** Resolves when everybody who listens to the thread has it. */
async function publishOne(
  client: Dispatcher,
  audience: Audience,
  requestOf: Publication,
  latencies: Latencies,
): Promise<boolean> {
  const number = ++published;
  const arrivals = audience.expect(number);
  const fault = await send(client, requestOf(number));
  if (fault !== null) return false;
  const acknowledged = performance.now();
  const times = await arrivals;
  for (const arrived of times) latencies.record(Math.max(0, arrived - acknowledged));
  return times.length === audience.ofASeat;
}
