import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import { encodeId } from '../../src/ids.js';
import { allScopes, type Client, createClient } from './app.js';
import {
  type ChurnSubscriber,
  overEventStream,
  overWebSocket,
  type SeenEvent,
  startChurnSubscriber,
} from './churn-subscriber.js';
import { createDatabase } from './postgres.js';
import { install, type Parley } from './process.js';
import { query } from './query.js';
import { eventually, startReceiver } from './receiver.js';
import { startRedis } from './redis.js';

export interface LiveChurn {
  readonly subscribers: number;
  readonly messages: number;
  /** Over which the messages are spread. */
  readonly durationMs: number;
  readonly cutEveryMs: number;
  readonly killEveryMs: number;
  /** With `restarted` it dies in the middle, and comes back empty. */
  readonly redis: 'absent' | 'present' | 'restarted';
  /** For what is still to come when the last message is written. */
  readonly drainTimeoutMs: number;
}

const TENANTS = 2;
const WORKFLOWS = 5;
const PARTICIPANTS = 5;
const WRITERS = 12;

/** Which events a subscriber is to get. */
interface Wanted {
  readonly type?: 'message.created';
  readonly workflowId?: string;
  readonly participantId?: string;
  readonly threadId?: string;
}

interface Follower {
  readonly subscriber: ChurnSubscriber;
  readonly tenantId: string;
  readonly wanted: Wanted;
  readonly after: number;
}

interface StoredEvent {
  readonly sequence: number;
  readonly type: string;
  readonly workflow_id: string;
  readonly participant_id: string;
  readonly thread_id: string;
}

/**
 * Two apis and a worker on one Postgres. While messages are written, the sockets of a third of the subscribers are
 * cut every so often, and one api after the other is ended (by SIGKILL or SIGTERM) and started again. Every subscriber,
 * going on behind its last event, must end up with exactly the events it should, in order, and with none of another
 * tenant.
 */
export async function liveChurn(options: LiveChurn) {
  const fleet = await startFleet(options.redis !== 'absent');
  const tenants = await Promise.all(
    Array.from({ length: TENANTS }, (_, index) => createTenant(fleet.operator(), `tenant_${index}`)),
  );
  const receiver = await startReceiver();
  await Promise.all(
    tenants.map(({ apiKey }) =>
      createClient(fleet.pickUrl(), apiKey).data(
        `mutation ($url: String!) {
          registerWorkflowHandler(input: {workflowId: "workflow_0", kind: HTTP, url: $url}) { secret }
        }`,
        { url: receiver.url },
      ),
    ),
  );
  // So that every thread is there to be followed.
  const threadIds = await Promise.all(tenants.map((tenant) => writeToEveryThread(fleet.pickUrl, tenant)));

  let foreign = 0;
  const followers = await Promise.all(
    Array.from({ length: options.subscribers }, async (_, index): Promise<Follower> => {
      const tenant = tenants[index % TENANTS]!;
      const { wanted, connect } = subscription(index, tenant, threadIds[index % TENANTS]!);
      const { eventCursor } = await createClient(fleet.pickUrl(), tenant.apiKey).data('{ eventCursor }');
      const subscriber = startChurnSubscriber(connect, fleet.pickUrl, eventCursor, (event) => {
        if (!isOf(tenant.id, event)) foreign++;
      });
      onTestFinished(() => subscriber.stop());
      return { subscriber, tenantId: tenant.id, wanted, after: sequenceOf(eventCursor) };
    }),
  );

  const ended = new AbortController();
  const startedAt = performance.now();
  const churning = [
    every(options.cutEveryMs, ended.signal, async () => {
      for (const { subscriber } of followers) if (Math.random() < 1 / 3) subscriber.cut();
    }),
    every(options.killEveryMs, ended.signal, () => fleet.replaceOne()),
    ...(options.redis === 'restarted' ? [fleet.restartRedis(options.durationMs / 2)] : []),
  ];
  await write(fleet.pickUrl, tenants, options);
  const writtenMs = Math.round(performance.now() - startedAt);
  ended.abort();
  await Promise.all(churning);
  await eventually(async () => (await underWay(fleet.databaseUrl)) === 0, {
    timeoutMs: options.drainTimeoutMs,
    describe: () => 'every signal to be sent',
  });

  const logs = new Map(
    await Promise.all(tenants.map(async ({ id }) => [id, await readLog(fleet.databaseUrl, id)] as const)),
  );
  const expected = followers.map(({ tenantId, wanted, after }) =>
    logs
      .get(tenantId)!
      .filter((event) => event.sequence > after && isWanted(wanted, event))
      .map(({ sequence }) => sequence),
  );
  await eventually(
    () => followers.every(({ subscriber }, index) => subscriber.sequences.at(-1) === expected[index]!.at(-1)),
    { timeoutMs: options.drainTimeoutMs, describe: () => 'every subscriber to have the last event' },
  );
  for (const [index, { subscriber }] of followers.entries()) {
    expect(subscriber.sequences).toEqual(expected[index]);
  }
  expect(foreign).toBe(0);
  const created = [...logs.values()].flat().filter(({ type }) => type === 'message.created');
  expect(created).toHaveLength(options.messages + TENANTS * WORKFLOWS * PARTICIPANTS);
  return {
    writtenMs,
    caughtUpMs: Math.round(performance.now() - startedAt) - writtenMs,
    events: [...logs.values()].flat().length,
    received: followers.reduce((sum, { subscriber }) => sum + subscriber.sequences.length, 0),
    connections: followers.reduce((sum, { subscriber }) => sum + subscriber.connections(), 0),
    apisEnded: fleet.ended(),
  };
}

interface Tenant {
  readonly id: string;
  readonly apiKey: string;
}

async function startFleet(withRedis: boolean) {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const redis = withRedis ? await startRedis() : null;
  const apiKey = `parley_${randomBytes(24).toString('hex')}`;
  const installation = await install({
    DATABASE_URL: database.connectionString,
    SECRETS_KEY: randomBytes(32).toString('base64'),
    BOOTSTRAP_API_KEY: apiKey,
    ALLOWED_TARGET_CIDRS: '127.0.0.0/8',
    LOG_LEVEL: 'warn',
    ...(redis && { REDIS_URL: redis.url }),
  });
  const [first, second] = await Promise.all([
    installation.start({ ROLE: 'api' }),
    installation.start({ ROLE: 'api' }),
    installation.start({ ROLE: 'worker' }),
  ]);
  const apis: Parley[] = [first, second];
  const ended = { SIGKILL: 0, SIGTERM: 0 };
  const pickUrl = () => apis[randomInt(apis.length)]!.url;

  return {
    databaseUrl: database.connectionString,
    pickUrl,
    operator: () => createClient(pickUrl(), apiKey),
    /** Ends the api that has run longest, and starts another in its place. */
    async replaceOne() {
      const signal = Math.random() < 0.5 ? 'SIGKILL' : 'SIGTERM';
      ended[signal]++;
      await apis.shift()!.end(signal);
      apis.push(await installation.start({ ROLE: 'api' }));
    },
    ended: () => ended,
    async restartRedis(afterMs: number) {
      await sleep(afterMs);
      await redis?.kill();
      await redis?.start();
    },
  };
}

async function createTenant(operator: Client, id: string): Promise<Tenant> {
  await operator.data(
    'mutation ($input: CreateTenantInput!) { createTenant(input: $input) { tenant { id } } }',
    { input: { id, name: id } },
  );
  const { createApiKey } = await operator.data(
    'mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }',
    { input: { tenantId: id, name: 'test', scopes: allScopes } },
  );
  return { id, apiKey: createApiKey.secret };
}

const FIELDS = 'sequence cursor message { content }';

/** Half of them over WebSocket and half over event streams; of each kind some follow all and some a part. */
function subscription(index: number, { apiKey }: Tenant, threadIds: readonly string[]) {
  const kind = Math.floor(index / TENANTS);
  const type = 'message.created';
  const workflowId = `workflow_${kind % WORKFLOWS}`;
  const participantId = `participant_${kind % PARTICIPANTS}`;
  const threadId = threadIds[kind % threadIds.length]!;
  const ways: { wanted: Wanted; connect: ReturnType<typeof overWebSocket> }[] = [
    {
      wanted: {},
      connect: overWebSocket(
        apiKey,
        `subscription ($after: String) { events(after: $after) { ${FIELDS} } }`,
        {},
      ),
    },
    { wanted: {}, connect: overEventStream(apiKey, '') },
    {
      wanted: { type, participantId },
      connect: overWebSocket(
        apiKey,
        `subscription ($participantId: String, $after: String) {
          messageAdded(participantId: $participantId, after: $after) { ${FIELDS} }
        }`,
        { participantId },
      ),
    },
    {
      wanted: { type, workflowId },
      connect: overEventStream(apiKey, `?types=${type}&workflowId=${workflowId}`),
    },
    {
      wanted: { type, threadId },
      connect: overWebSocket(
        apiKey,
        `subscription ($threadId: ID, $after: String) { messageAdded(threadId: $threadId, after: $after) { ${FIELDS} } }`,
        { threadId },
      ),
    },
    { wanted: { threadId }, connect: overEventStream(apiKey, `?threadId=${threadId}`) },
  ];
  return ways[kind % ways.length]!;
}

const isWanted = ({ type, workflowId, participantId, threadId }: Wanted, event: StoredEvent): boolean =>
  (type === undefined || type === event.type) &&
  (workflowId === undefined || workflowId === event.workflow_id) &&
  (participantId === undefined || participantId === event.participant_id) &&
  (threadId === undefined || threadId === event.thread_id);

const placeOf = (cursor: string) => Buffer.from(cursor, 'base64url').toString().split(':');
const sequenceOf = (cursor: string) => Number(placeOf(cursor)[1]);

/** The cursor and what the message says are of the tenant. */
const isOf = (tenantId: string, { cursor, body }: SeenEvent) =>
  placeOf(cursor)[0] === tenantId && (body === null || body.startsWith(`${tenantId}/`));

/** @returns the threads' ids */
async function writeToEveryThread(pickUrl: () => string, tenant: Tenant): Promise<string[]> {
  const threads = Array.from({ length: WORKFLOWS * PARTICIPANTS }, (_, index) => index);
  return Promise.all(threads.map((thread) => post(pickUrl, tenant, thread)));
}

/** Stores one message, with as many attempts as it takes. @returns its thread's id */
async function post(pickUrl: () => string, { id, apiKey }: Tenant, thread: number): Promise<string> {
  const key = randomUUID();
  const participantId = `participant_${thread % PARTICIPANTS}`;
  const body = {
    workflowId: `workflow_${Math.floor(thread / PARTICIPANTS)}`,
    participantId,
    channel: 'chat',
    channelKey: participantId,
    content: { body: `${id}/${key}` },
  };
  for (;;) {
    const answer = await createClient(pickUrl(), apiKey)
      .rest('POST', '/inbound', body, { 'idempotency-key': key })
      .catch(() => null);
    if (answer?.status === 200) return answer.body.threadId;
    await sleep(randomInt(20, 100));
  }
}

/** Writes the messages, spread evenly over the time; when the servers are slower, as fast as they are. */
async function write(
  pickUrl: () => string,
  tenants: readonly Tenant[],
  { messages, durationMs }: LiveChurn,
): Promise<void> {
  const startedAt = performance.now();
  let next = 0;
  const writer = async () => {
    while (next < messages) {
      const number = next++;
      const aheadMs = startedAt + (durationMs * number) / messages - performance.now();
      if (aheadMs > 1) await sleep(aheadMs);
      await post(pickUrl, tenants[number % TENANTS]!, randomInt(WORKFLOWS * PARTICIPANTS));
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

async function every(intervalMs: number, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await sleep(intervalMs, undefined, { signal }).catch(() => {});
    if (!signal.aborted) await work();
  }
}

/** What of the workflow with a handler is not settled, and what is not dispatched. */
async function underWay(databaseUrl: string): Promise<number> {
  const [row] = await query<{ count: number }>(
    databaseUrl,
    `SELECT ((SELECT count(*) FROM delivery WHERE status = 'pending' AND workflow_id = 'workflow_0')
           + (SELECT sum(c.last_sequence - d.sequence)
              FROM tenant_counter c JOIN dispatch_checkpoint d USING (tenant_id)))::int AS count`,
  );
  return row!.count;
}

const readLog = async (databaseUrl: string, tenantId: string): Promise<StoredEvent[]> =>
  (
    await query<StoredEvent>(
      databaseUrl,
      `SELECT sequence::int, type, workflow_id, participant_id, thread_id FROM event WHERE tenant_id = $1 ORDER BY sequence`,
      [tenantId],
    )
  ).map((event) => ({ ...event, thread_id: encodeId('thread', event.thread_id) }));
