import { Client } from 'undici';
import { createKeys } from '../support/api.js';
import { Audience, type Seat, subscribing } from '../support/audience.js';
import { Latencies, type Result, ratioOf } from '../support/figures.js';
import { fill } from '../support/fill.js';
import { type Request, send } from '../support/load.js';
import type { Options } from '../support/options.js';
import { posting, publishingQuietly, publishOne, QUIET_MESSAGES_A_SECOND } from '../support/publishing.js';
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
    parley: publishingQuietly(posting(stage, parley.url, inThreads(threads)), ours.arrivals),
    against: {
      name: 'reference',
      run: publishingQuietly(posting(stage, reference.url, inReference), theirs.arrivals),
    },
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
      const publish = (number: number) => send(client, requestOf(number));
      while (performance.now() < end)
        errors += (await publishOne(publish, audience.arrivals, latencies)) ? 0 : 1;
      await client.close();
    };
    await Promise.all(Array.from({ length: publishers }, work));
    return latencies.figures((performance.now() - start) / 1_000, errors);
  };
