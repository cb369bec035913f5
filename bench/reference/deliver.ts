import { createPostgresBackend, type Job, Worker, withBackend } from 'bullmq';
import { Agent, request } from 'undici';

/** A bare BullMQ worker that posts what its jobs say, and records nothing. */
const concurrency = Number(process.env.CONCURRENCY ?? 100);
const agent = new Agent({ connections: 256 });

const post = async ({ data }: Job<{ url: string; body: string }>) => {
  const { statusCode, body } = await request(data.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: data.body,
    dispatcher: agent,
  });
  await body.dump();
  if (statusCode !== 200) throw new Error(`answered ${statusCode}`);
};

const { REDIS_URL: redisUrl, DATABASE_URL: connectionString = '' } = process.env;
const options = { concurrency, removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } };
const worker = redisUrl
  ? new Worker('bench', post, { ...options, connection: { url: redisUrl, maxRetriesPerRequest: null } })
  : new (withBackend(createPostgresBackend).Worker)('bench', post, {
      ...options,
      connection: { connectionString, schema: 'bench_queue', migrate: true, max: 10 },
    });
await worker.waitUntilReady();
process.on('SIGTERM', () => process.exit(0));
console.log('listening on bench');
