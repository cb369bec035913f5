import { createPostgresBackend, type Job, Worker, withBackend } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { eventually } from '../support/receiver.js';
import { receive, registerHandler, signalBecomes, signalOf } from '../support/signals.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ signalRetryScheduleSeconds: [0, 0, 1] });
});
afterAll(() => app.close());

/** A worker as users write it, outside Parley, with nothing of Parley's code. */
async function startWorker(client: Client, queue: string, process: (job: Job) => Promise<unknown>) {
  const name = `parley.${client.tenantId}.${queue}`;
  const { redisUrl } = app.services.config;
  const options = { concurrency: 20 };
  const worker =
    redisUrl === null
      ? new (withBackend(createPostgresBackend).Worker)(name, process, {
          ...options,
          connection: { connectionString: app.databaseUrl, schema: 'parley_queue' },
        })
      : new Worker(name, process, {
          ...options,
          connection: new Redis(redisUrl, { maxRetriesPerRequest: null }),
        });
  worker.on('error', () => {});
  await worker.waitUntilReady();
  onTestFinished(() => worker.close(true));
}

/** Whether a job waits in a queue. */
async function isQueued(client: Client, queue: string, jobId: string): Promise<boolean> {
  const name = `parley.${client.tenantId}.${queue}`;
  const { redisUrl } = app.services.config;
  if (redisUrl === null) {
    const sql = 'SELECT 1 FROM parley_queue.job WHERE queue = $1 AND id = $2';
    return (await query(app.databaseUrl, sql, [name, jobId])).length > 0;
  }
  const redis = new Redis(redisUrl);
  const count = await redis.exists(`bull:${name}:${jobId}`);
  redis.disconnect();
  return count > 0;
}

/** Does away with the queues, as a flushed Redis does. */
async function loseQueues(): Promise<void> {
  const { redisUrl } = app.services.config;
  if (redisUrl === null) {
    await query(app.databaseUrl, 'DELETE FROM parley_queue.job');
    return;
  }
  const redis = new Redis(redisUrl);
  await redis.flushdb();
  redis.disconnect();
}

const queueOf = (client: Client) => client.data('{ workflowHandlers { edges { node { kind url queue } } } }');

describe('a handler of the kind QUEUE', () => {
  it('hands a worker outside Parley the documented signal, under the id of the signal', async () => {
    const client = await app.tenant();
    expect(await registerHandler(client, { kind: 'QUEUE', queue: 'agents' })).toMatchObject({
      kind: 'QUEUE',
      url: null,
      queue: 'agents',
      secret: null,
    });
    expect((await queueOf(client)).workflowHandlers.edges[0].node.queue).toBe('agents');
    const jobs: Job[] = [];
    await startWorker(client, 'agents', async (job) => {
      jobs.push(job);
      return { handledBy: 'a worker' };
    });
    const { messageId, threadId } = await receive(client, 'hello');

    await signalBecomes(client, messageId, 'DELIVERED');
    const signal = await signalOf(client, messageId);
    expect(jobs).toHaveLength(1);
    expect(jobs[0]!.name).toBe('InboundConversationMessage');
    expect(jobs[0]!.id).toBe(signal.id);
    expect(jobs[0]!.data).toEqual({
      signalName: 'InboundConversationMessage',
      threadId,
      messageId,
      tenantId: client.tenantId,
      workflowId: 'workflow_1',
      channel: 'chat',
      channelKey: 'participant_1',
      participantId: 'participant_1',
      receivedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      content: { body: 'hello' },
      direction: 'inbound',
      metadata: {},
    });
    expect(signal).toMatchObject({
      messageStatus: 'DELIVERED',
      log: ['CREATED', 'DELIVERED'],
      attempts: [{ statusCode: null, error: null, responseBody: '{"handledBy":"a worker"}' }],
    });
  });

  it('hands out the next signal of a thread when the job of the one before has been completed', async () => {
    const client = await app.tenant();
    await registerHandler(client, { kind: 'QUEUE', queue: 'agents' });
    const seen: string[] = [];
    let underWay = 0;
    let most = 0;
    await startWorker(client, 'agents', async ({ data }) => {
      most = Math.max(most, ++underWay);
      seen.push(data.content.body);
      await new Promise((resolve) => setTimeout(resolve, 20));
      underWay--;
    });
    const texts = ['1', '2', '3', '4', '5', '6'];
    let last = '';
    for (const text of texts) last = (await receive(client, text)).messageId;
    await signalBecomes(client, last, 'DELIVERED');
    expect(seen).toEqual(texts);
    expect(most).toBe(1);
  });

  it('counts a failed job as a failed attempt, and goes on when the schedule is exhausted', async () => {
    const client = await app.tenant();
    await registerHandler(client, { kind: 'QUEUE', queue: 'agents' });
    const seen: string[] = [];
    await startWorker(client, 'agents', async ({ data }) => {
      seen.push(data.content.body);
      if (data.content.body === 'bad') throw new Error('I cannot do this');
    });
    const bad = await receive(client, 'bad');
    const next = await receive(client, 'next');
    await signalBecomes(client, next.messageId, 'DELIVERED');
    expect(seen).toEqual(['bad', 'bad', 'bad', 'next']);
    expect(await signalOf(client, bad.messageId)).toMatchObject({
      status: 'FAILED',
      messageStatus: 'FAILED',
      attempts: Array(3).fill({ error: 'job_failed', responseBody: 'I cannot do this' }),
    });
  });

  it('sends a failed signal again through retrySignal', async () => {
    const client = await app.tenant();
    await registerHandler(client, { kind: 'QUEUE', queue: 'agents' });
    let isBroken = true;
    await startWorker(client, 'agents', async () => {
      if (isBroken) throw new Error('not today');
    });
    const { messageId } = await receive(client, 'hello');
    await signalBecomes(client, messageId, 'FAILED');
    isBroken = false;
    const { id } = await signalOf(client, messageId);
    await client.data('mutation ($input: IdInput!) { retrySignal(input: $input) { signal { status } } }', {
      input: { id },
    });
    await signalBecomes(client, messageId, 'DELIVERED');
  });

  it('adds a job again that vanished', async () => {
    const client = await app.tenant();
    await registerHandler(client, { kind: 'QUEUE', queue: 'agents' });
    const { messageId } = await receive(client, 'hello');
    await signalBecomes(client, messageId, 'PENDING');
    const { id } = await signalOf(client, messageId);
    await eventually(() => isQueued(client, 'agents', id));
    await loseQueues();
    const ids: (string | undefined)[] = [];
    await startWorker(client, 'agents', async (job) => void ids.push(job.id));
    await signalBecomes(client, messageId, 'DELIVERED', 25_000);
    expect(ids).toEqual([id]);
  });

  it('leaves no finished job behind', async () => {
    const client = await app.tenant();
    await registerHandler(client, { kind: 'QUEUE', queue: 'agents' });
    await startWorker(client, 'agents', async () => {});
    const { messageId } = await receive(client, 'hello');
    await signalBecomes(client, messageId, 'DELIVERED');
    const { redisUrl } = app.services.config;
    const name = `parley.${client.tenantId}.agents`;
    await eventually(async () => {
      if (redisUrl === null) {
        return (
          (await query(app.databaseUrl, 'SELECT 1 FROM parley_queue.job WHERE queue = $1', [name])).length ===
          0
        );
      }
      const redis = new Redis(redisUrl);
      const count = await redis.zcard(`bull:${name}:completed`);
      redis.disconnect();
      return count === 0;
    });
  });

  it('holds up no other signals while many of its own wait for a worker', async () => {
    const client = await app.tenant();
    await registerHandler(client, { kind: 'QUEUE', queue: 'nobody' });
    await Promise.all(
      Array.from({ length: 150 }, (_, index) => receive(client, 'waits', `participant_${index}`)),
    );
    await registerHandler(client, { workflowId: 'workflow_2', kind: 'QUEUE', queue: 'agents' });
    await startWorker(client, 'agents', async () => {});
    const { messageId } = await receive(client, 'hello', 'participant_1', 'workflow_2');
    await signalBecomes(client, messageId, 'DELIVERED');
  });

  it.each([
    [{ kind: 'QUEUE' }, 'queue', 'is required for QUEUE'],
    [{ kind: 'QUEUE', queue: 'a.b' }, 'queue', 'must be 1 to 64 of A-Z, a-z, 0-9, _ and -'],
    [{ kind: 'QUEUE', queue: 'a', url: 'https://example.com/' }, 'url', 'cannot be set for QUEUE'],
    [{ kind: 'QUEUE', queue: 'a', secret: 'x'.repeat(20) }, 'secret', 'cannot be set for QUEUE'],
    [{ kind: 'HTTP' }, 'url', 'is required for HTTP'],
    [{ kind: 'HTTP', url: 'https://example.com/', queue: 'a' }, 'queue', 'cannot be set for HTTP'],
  ])('is refused as %j', async (input, field, issue) => {
    const client = await app.tenant();
    const { body } = await client.graphql(
      'mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { secret } }',
      { input: { workflowId: 'workflow_1', ...input } },
    );
    expect(body.errors[0].extensions).toMatchObject({ code: 'BAD_USER_INPUT', details: [{ field, issue }] });
  });
});
