import { randomInt, randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { expect } from 'vitest';
import type { Answer, Client } from './app.js';
import { allScopes, createClient } from './app.js';
import { type Installation, install, type Parley } from './process.js';
import { query } from './query.js';
import { eventually, type Received, type Receiver, startReceiver } from './receiver.js';

export interface KillRounds {
  readonly rounds: number;
  /** How long the load runs before the kill: a random time up to this. */
  readonly longestLoadMs: number;
  /** For what is still to be delivered after the last round. */
  readonly drainTimeoutMs: number;
  /** Runs the queues on Redis. It outlives the kills. */
  readonly redisUrl?: string;
}

const CONNECTIONS = 8;
const THREADS_PER_TENANT = 5;
const LONGEST_PAUSE_MS = 25;
const FAILURE_RATE = 0.05;
/** At once, then a second apart: what fails now and then must never fail finally. */
const SCHEDULE = [0, 0, 0, ...Array(29).fill(1)].join();

interface Tenant {
  readonly id: string;
  readonly apiKey: string;
}

/** One message that was sent to Parley, perhaps several times, under one key. */
interface Posted {
  readonly tenant: Tenant;
  readonly direction: 'inbound' | 'outbound';
  readonly key: string;
  readonly body: object;
  /** The answer; absent as long as every connection died before one. */
  answer?: { threadId: string; messageId: string; position: number };
}

/** The counts of a finished scenario, to be shown. */
export interface KillRoundsFigures {
  readonly rounds: number;
  readonly messages: number;
  readonly cutOff: number;
  readonly signalRequests: number;
  readonly webhookRequests: number;
  readonly drainMs: number;
}

/**
 * `kill -9` at random moments under load, and afterwards nothing that was acknowledged is missing,
 * doubled or out of order. Every second round kills Postgres too; every third is preceded by a start that is
 * killed before it is ready.
 */
export async function killRounds({
  rounds,
  longestLoadMs,
  drainTimeoutMs,
  redisUrl,
}: KillRounds): Promise<KillRoundsFigures> {
  const installation = await install({
    LOG_LEVEL: 'warn',
    SIGNAL_RETRY_SCHEDULE_SECONDS: SCHEDULE,
    WEBHOOK_RETRY_SCHEDULE_SECONDS: SCHEDULE,
    ...(redisUrl && { REDIS_URL: redisUrl }),
  });
  const acknowledged = new Set<Received>();
  const handler = await startReceiver(failingSometimes(acknowledged));
  const webhook = await startReceiver(failingSometimes(acknowledged));

  let parley = await installation.start();
  const tenants = [
    { id: 'default', apiKey: parley.apiKey },
    { id: 'second', apiKey: await createTenant(parley.operator, 'second') },
  ];
  const secrets = new Map<string, string>();
  for (const tenant of tenants) {
    const client = createClient(parley.url, tenant.apiKey, tenant.id);
    for (const [path, secret] of await registerReceivers(client, handler, webhook)) secrets.set(path, secret);
  }

  const posted: Posted[] = [];
  let cutOff = 0;
  for (let round = 1; round <= rounds; round++) {
    const load = startLoad(parley, tenants, posted);
    await sleep(randomInt(50, longestLoadMs));
    await parley.kill();
    cutOff += await load.finished();
    if (round % 2 === 0) process.kill(await installation.postmasterPid(), 'SIGKILL');
    if (round % 3 === 0) await killWhileStarting(installation);
    parley = await installation.start();
  }
  const load = startLoad(parley, tenants, posted);
  load.stop();
  expect(await load.finished()).toBe(0);

  const drainStartedAt = Date.now();
  const url = await installation.databaseUrl();
  await eventually(async () => (await unfinished(url)) === 0, {
    timeoutMs: drainTimeoutMs,
    describe: () => 'every signal and webhook to be delivered',
  });
  const drainMs = Date.now() - drainStartedAt;

  for (const tenant of tenants) {
    const client = createClient(parley.url, tenant.apiKey, tenant.id);
    const own = posted.filter((message) => message.tenant.id === tenant.id);
    await checkStored(client, own);
    checkReceived(own.filter(isInbound), ofTenant(handler, tenant), acknowledged, secrets);
    checkReceived(
      own.filter((message) => !isInbound(message)),
      ofTenant(webhook, tenant),
      acknowledged,
      secrets,
    );
    checkOrder(own.filter(isInbound), ofTenant(handler, tenant), acknowledged);
  }
  await checkDatabase(url, posted.length);
  expect(await parley.terminate()).toBe(0);
  expect(await installation.processes()).toEqual([]);
  return {
    rounds,
    messages: posted.length,
    cutOff,
    signalRequests: handler.received.length,
    webhookRequests: webhook.received.length,
    drainMs,
  };
}

/** Answers 2xx to most requests, 500 or a broken connection to some, and remembers which it acknowledged. */
function failingSometimes(acknowledged: Set<Received>) {
  return (received: Received, response: ServerResponse) => {
    if (Math.random() >= FAILURE_RATE) {
      acknowledged.add(received);
      response.end('ok');
    } else if (Math.random() < 0.5) {
      response.writeHead(500).end();
    } else {
      response.destroy();
    }
  };
}

async function createTenant(operator: Client, id: string): Promise<string> {
  await operator.data(
    'mutation ($input: CreateTenantInput!) { createTenant(input: $input) { tenant { id } } }',
    { input: { id, name: id } },
  );
  const { createApiKey } = await operator.data(
    'mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }',
    { input: { tenantId: id, name: 'test', scopes: allScopes } },
  );
  return createApiKey.secret;
}

/** A default handler and a webhook for the tenant; answers with the secret of each by its path. */
async function registerReceivers(
  client: Client,
  handler: Receiver,
  webhook: Receiver,
): Promise<[string, string][]> {
  const signalPath = `/signals/${client.tenantId}`;
  const webhookPath = `/webhooks/${client.tenantId}`;
  const { registerWorkflowHandler } = await client.data(
    'mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { secret } }',
    { input: { workflowId: '*', kind: 'HTTP', url: handler.url + signalPath } },
  );
  const { body } = await client.rest('POST', '/outbound/webhook', {
    url: webhook.url + webhookPath,
    events: ['message.created'],
  });
  return [
    [signalPath, registerWorkflowHandler.secret],
    [webhookPath, body.secret],
  ];
}

/**
 * Several connections that post one message after the other: first those that an earlier kill cut off, under
 * their old keys, then new ones, until they are stopped or their connection dies.
 */
function startLoad(parley: Parley, tenants: readonly Tenant[], posted: Posted[]) {
  const unanswered = posted.filter(({ answer }) => !answer);
  let stopped = false;
  let cutOff = 0;

  async function runConnection(): Promise<void> {
    for (;;) {
      const message = unanswered.pop() ?? (stopped ? undefined : newMessage(tenants));
      if (!message) return;
      if (!posted.includes(message)) posted.push(message);
      const answer = await post(parley, message).catch(() => null);
      if (answer === null) {
        cutOff++;
        return;
      }
      expect(answer).toMatchObject({ status: 200 });
      message.answer = answer.body;
      await sleep(randomInt(LONGEST_PAUSE_MS));
    }
  }

  const connections = Array.from({ length: CONNECTIONS }, runConnection);
  return {
    stop() {
      stopped = true;
    },
    /** Resolves with the number of requests that got no answer. */
    async finished() {
      await Promise.all(connections);
      return cutOff;
    },
  };
}

function newMessage(tenants: readonly Tenant[]): Posted {
  const key = randomUUID();
  const thread = randomInt(THREADS_PER_TENANT);
  return {
    tenant: tenants[randomInt(tenants.length)]!,
    direction: Math.random() < 0.5 ? 'inbound' : 'outbound',
    key,
    body: {
      workflowId: `workflow_${thread}`,
      participantId: `participant_${thread}`,
      channel: 'chat',
      channelKey: `participant_${thread}`,
      content: { body: key },
    },
  };
}

function post(parley: Parley, { tenant, direction, key, body }: Posted): Promise<Answer> {
  const client = createClient(parley.url, tenant.apiKey, tenant.id);
  return client.rest('POST', `/${direction}`, body, { 'idempotency-key': key });
}

async function killWhileStarting(installation: Installation): Promise<void> {
  const program = installation.spawn();
  await sleep(randomInt(1_000));
  await program.end('SIGKILL');
}

/** `Map.groupBy` of later Node versions. */
function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}

const isInbound = ({ direction }: Posted) => direction === 'inbound';

const ofTenant = ({ received }: Receiver, { id }: Tenant): Received[] =>
  received.filter(({ path }) => path.endsWith(`/${id}`));

/** Every message is there once, as it was answered, whichever attempt stored it, at positions 1, 2, 3 … */
async function checkStored(client: Client, posted: readonly Posted[]): Promise<void> {
  const { body } = await client.rest('GET', '/threads?pageSize=100');
  const stored = new Map<string, object>();
  let count = 0;
  for (const { id } of body.threads) {
    const messages = await messagesOf(client, id);
    expect(messages.map(({ position }) => position)).toEqual(messages.map((_, index) => index + 1));
    for (const { content, id: messageId, threadId, position, logs } of messages) {
      stored.set(content.body, { messageId, threadId, position });
      expect(logs.filter(({ event }: { event: string }) => event === 'created')).toHaveLength(1);
      count++;
    }
  }
  expect(count).toBe(posted.length);
  for (const { key, answer } of posted) expect(answer).toMatchObject(stored.get(key) ?? { messageId: key });
}

// biome-ignore lint/suspicious/noExplicitAny: as Answer
async function messagesOf(client: Client, threadId: string): Promise<any[]> {
  const messages = [];
  for (let page = 1; page <= 100; page++) {
    const { body } = await client.rest('GET', `/threads/${threadId}?pageSize=500&page=${page}`);
    messages.push(...body.messages);
    if (!body.messagesPage.hasMore) return messages;
  }
  throw new Error('The thread has more than 100 pages');
}

/** Each message arrived and was acknowledged, always under the same id and with a valid signature. */
function checkReceived(
  posted: readonly Posted[],
  received: readonly Received[],
  acknowledged: ReadonlySet<Received>,
  secrets: ReadonlyMap<string, string>,
): void {
  const byMessage = groupBy(received, ({ body }) => body.messageId);
  expect(new Set(byMessage.keys())).toEqual(new Set(posted.map(({ answer }) => answer?.messageId)));
  const ids = [...byMessage.values()].map((requests) => {
    expect(requests.some((request) => acknowledged.has(request))).toBe(true);
    const own = new Set(requests.map(({ headers }) => headers['webhook-id']));
    expect(own.size).toBe(1);
    return [...own][0];
  });
  expect(new Set(ids).size).toBe(ids.length);
  for (const { path, bytes, headers } of received) {
    // Signed again, not verified: that would hold the age of a request of the first round against it.
    const at = new Date(Number(headers['webhook-timestamp']) * 1_000);
    const signature = new Webhook(secrets.get(path) ?? '').sign(String(headers['webhook-id']), at, bytes);
    expect(headers['webhook-signature']).toBe(signature);
  }
}

/** Promise 6: the next signal of a thread comes after the previous one was acknowledged, and that then is over. */
function checkOrder(
  posted: readonly Posted[],
  received: readonly Received[],
  acknowledged: ReadonlySet<Received>,
): void {
  const positions = new Map(posted.map(({ answer }) => [answer?.messageId, answer?.position ?? 0]));
  for (const requests of groupBy(received, ({ body }) => body.threadId).values()) {
    const last = { position: 0, isAcknowledged: true };
    for (const request of requests) {
      const position = positions.get(request.body.messageId) ?? 0;
      expect(position).toBeGreaterThanOrEqual(last.position);
      if (position > last.position) {
        expect(last.isAcknowledged).toBe(true);
        Object.assign(last, { position, isAcknowledged: false });
      }
      last.isAcknowledged ||= acknowledged.has(request);
    }
  }
}

const unfinished = async (url: string): Promise<number> => {
  const [row] = await query<{ count: number }>(
    url,
    `SELECT ((SELECT count(*) FROM delivery WHERE status <> 'delivered')
           + (SELECT sum(c.last_sequence - d.sequence)
              FROM tenant_counter c JOIN dispatch_checkpoint d USING (tenant_id)))::int AS count`,
  );
  return row!.count;
};

/** What no caller sees: the sequences, and that nothing is half stored. */
async function checkDatabase(url: string, messageCount: number): Promise<void> {
  const sequences = await query(
    url,
    `SELECT c.tenant_id, c.last_sequence = count(e) AND min(e.sequence) = 1 AND max(e.sequence) = count(e) AS gapless
     FROM tenant_counter c JOIN event e USING (tenant_id) GROUP BY c.tenant_id, c.last_sequence ORDER BY 1`,
  );
  expect(sequences).toEqual([
    { tenant_id: 'default', gapless: true },
    { tenant_id: 'second', gapless: true },
  ]);
  const [counts] = await query(
    url,
    `SELECT (SELECT count(*)::int FROM conversation_message) AS messages,
            (SELECT sum(last_position)::int FROM conversation_thread) AS positions,
            (SELECT count(*)::int FROM idempotency_key) AS keys,
            (SELECT count(*)::int FROM event WHERE type = 'message.created') AS events,
            (SELECT count(DISTINCT message_id)::int FROM event WHERE type = 'message.created') AS event_messages,
            (SELECT count(*)::int FROM delivery) AS deliveries,
            (SELECT count(DISTINCT message_id)::int FROM delivery) AS delivery_messages,
            (SELECT count(*)::int FROM conversation_message_log WHERE event = 'created') AS logs,
            (SELECT count(*)::int FROM event WHERE type = 'thread.created') AS thread_events,
            (SELECT count(*)::int FROM conversation_thread) AS threads`,
  );
  const { thread_events: threadEvents, threads, ...perMessage } = counts as Record<string, number>;
  expect(threadEvents).toBe(threads);
  for (const [name, count] of Object.entries(perMessage)) expect([name, count]).toEqual([name, messageCount]);
}
