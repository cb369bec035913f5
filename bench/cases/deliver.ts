import { setTimeout as sleep } from 'node:timers/promises';
import { createPostgresBackend, Queue, withBackend } from 'bullmq';
import type pg from 'pg';
import { createKeys, graphql, type Tenant } from '../support/api.js';
import { arrive } from '../support/arrive.js';
import { type Figures, type Result, ratioOf } from '../support/figures.js';
import { fill } from '../support/fill.js';
import type { Request } from '../support/load.js';
import type { Options } from '../support/options.js';
import { type Publish, posting, publishingQuietly, QUIET_MESSAGES_A_SECOND } from '../support/publishing.js';
import { type Receiver, startReceiver } from '../support/receiver.js';
import { restInbound, restOutbound } from '../support/requests.js';
import { compare, type Run } from '../support/rounds.js';
import { openClient, type Parley, type Stage } from '../support/stage.js';

/** Each tenant has one webhook, or one workflow handler for all its threads. */
const FILLING = { tenants: 20, threads: 1_000, messages: 1 };
/** What is delivered to get warm, in a second; after that as much as was delivered before. So rounds last as asked. */
const FIRST_DELIVERIES_A_SECOND = 250;
const JOBS_AT_ONCE = 1_000;

const KINDS = {
  webhooks: {
    direction: 'outbound',
    request: restOutbound,
    register: `mutation ($url: String!) {
      registerWebhook(input: { url: $url, events: ["message.created"] }) { webhook { id } }
    }`,
  },
  signals: {
    direction: 'inbound',
    request: restInbound,
    register: `mutation ($url: String!) {
      registerWorkflowHandler(input: { workflowId: "*", kind: HTTP, url: $url }) { workflowHandler { id } }
    }`,
  },
} as const;

export type Kind = keyof typeof KINDS;
export const kinds = ['webhooks', 'signals'] as const;

/**
 * Webhooks and signals on both queue backends, against a worker that only posts what its jobs say: how many go out of
 * a backlog, and how long after the acknowledgement they arrive when there is room.
 */
export async function deliver(stage: Stage, options: Options): Promise<Result> {
  const results: Result[] = [];
  for (const backend of ['Postgres', 'Redis'] as const) {
    for (const kind of kinds) {
      results.push(await stage.scene((scene) => deliverOn(scene, options, backend, kind)));
    }
  }
  return { rows: results.flatMap(({ rows }) => rows), checks: results.flatMap(({ checks }) => checks) };
}

async function deliverOn(
  stage: Stage,
  options: Options,
  backend: 'Postgres' | 'Redis',
  kind: Kind,
): Promise<Result> {
  const name = `deliver_${kind}_${backend.toLowerCase()}`;
  const database = await stage.database(name);
  await fill(database, FILLING);
  const queues: Record<string, string> = backend === 'Redis' ? { REDIS_URL: await stage.redis() } : {};
  const receiver = await startReceiver();
  stage.onEnd(receiver.close);
  const parley = await stage.parley(database, queues);
  await stage.parley(database, { ...queues, ROLE: 'worker' });
  const tenants = await createKeys(parley, FILLING.tenants);
  await register(parley, tenants, kind, receiver.url);

  const reference = { ...queues, DATABASE_URL: await stage.database(`${name}_reference`) };
  await stage.reference('deliver', reference);
  const queue = openQueue(reference);
  stage.onEnd(() => queue.close());

  const client = await openClient(stage, database);
  const row = await compare(options, {
    case: `deliver, ${kind}, ${backend}`,
    connections: null,
    parley: delivering(client, receiver, kind, FILLING.tenants),
    against: { name: 'reference', run: deliverJobs(queue, receiver) },
  });
  const quiet = await compare(options, {
    case: `deliver, ${kind}, ${backend}, ${QUIET_MESSAGES_A_SECOND} messages/s`,
    connections: null,
    parley: publishingQuietly(posting(stage, parley.url, inTurn(tenants, kind)), receiver.arrivals),
    against: { name: 'reference', run: publishingQuietly(addingTo(queue, receiver), receiver.arrivals) },
  });
  return { rows: [row, quiet], checks: [ratioOf(row, 0.5)] };
}

/** A message to one tenant after the other, each to another one of its threads. */
const inTurn =
  (tenants: readonly Tenant[], kind: Kind) =>
  (number: number): Request => {
    const tenant = tenants[number % tenants.length];
    if (!tenant) throw new Error('There are no tenants');
    const thread = 1 + (Math.floor(number / tenants.length) % FILLING.threads);
    return KINDS[kind].request(tenant, thread, `number ${number}`);
  };

/** The reference is given what came last, with another text. */
function addingTo(queue: Queue, receiver: Receiver): Publish {
  const body = receiver.lastBody;
  return async (number) => {
    await queue.add('post', {
      url: receiver.url,
      body: body.replace(/"body":"[^"]*"/, `"body":"number ${number}"`),
    });
    return null;
  };
}

/** Has everything of that kind sent to one place. */
export async function register(parley: Parley, tenants: readonly Tenant[], kind: Kind, url: string) {
  for (const { apiKey } of tenants) await graphql(parley, apiKey, KINDS[kind].register, { url });
}

/** From the commit of the messages until the last of them is delivered and recorded. */
export function delivering(client: pg.Client, receiver: Receiver, kind: Kind, tenants: number): Run {
  let perSecond = FIRST_DELIVERIES_A_SECOND;
  return async (seconds) => {
    await client.query('BEGIN');
    const count = await arrive(client, KINDS[kind].direction, Math.ceil((seconds * perSecond) / tenants));
    const received = receiver.expect(count);
    await client.query('COMMIT');
    const start = performance.now();
    await client.query('NOTIFY parley_hint');
    await received;
    while (await isAnyPending(client)) await sleep(5);
    const figures = figuresOf(start, count, receiver);
    perSecond = figures.perSecond;
    return figures;
  };
}

async function isAnyPending(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query(
    "SELECT EXISTS (SELECT 1 FROM delivery WHERE status = 'pending') AS pending",
  );
  return rows[0].pending;
}

/** From when the worker may begin on jobs that are already there until the last of them is posted. */
function deliverJobs(queue: Queue, receiver: Receiver): Run {
  let perSecond = FIRST_DELIVERIES_A_SECOND;
  return async (seconds) => {
    const count = Math.ceil(seconds * perSecond);
    await queue.pause();
    const job = { name: 'post', data: { url: receiver.url, body: receiver.lastBody } };
    for (let added = 0; added < count; added += JOBS_AT_ONCE) {
      await queue.addBulk(Array.from({ length: Math.min(JOBS_AT_ONCE, count - added) }, () => job));
    }
    const received = receiver.expect(count);
    const start = performance.now();
    await queue.resume();
    await received;
    const figures = figuresOf(start, count, receiver);
    perSecond = figures.perSecond;
    return figures;
  };
}

const figuresOf = (start: number, count: number, receiver: Receiver): Figures => ({
  perSecond: (count / (performance.now() - start)) * 1_000,
  p50: null,
  p99: null,
  errors: receiver.surplus,
});

function openQueue({ REDIS_URL: url, DATABASE_URL: connectionString = '' }: Record<string, string>): Queue {
  if (url) return new Queue('bench', { connection: { url } });
  const bound = withBackend(createPostgresBackend);
  return new bound.Queue('bench', {
    connection: { connectionString, schema: 'bench_queue', migrate: true, max: 3 },
  }) as unknown as Queue;
}
