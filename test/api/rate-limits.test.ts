import { Writable } from 'node:stream';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { parseConfig } from '../../src/config.js';
import { createRateLimiter, RateLimited } from '../../src/http/rate-limit.js';
import { createLog } from '../../src/log.js';
import { type Answer, type Client, startApp, startAppForTest } from '../support/app.js';
import { eventually } from '../support/receiver.js';
import { startRedis } from '../support/redis.js';
import { connect, subscribe } from '../support/subscriber.js';

/** A request of a key that costs the database little. */
const ask = (client: Client) => client.rest('GET', '/threads?pageSize=1');

const statusesOf = async (count: number, request: () => Promise<Answer>) => {
  const statuses: number[] = [];
  for (let index = 0; index < count; index++) statuses.push((await request()).status);
  return statuses;
};

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

/** The error of an operation over a WebSocket, or its data. */
const overWebSocket = (socket: ReturnType<typeof connect>) =>
  // biome-ignore lint/suspicious/noExplicitAny: tests look at answers freely
  new Promise<any>((resolve) =>
    socket.subscribe(
      { query: '{ viewer { tenantId } }' },
      { next: resolve, error: (errors) => resolve({ errors }), complete: () => {} },
    ),
  );

/** A log that keeps its lines. */
function keepLog() {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  return { lines, log: pino({ level: 'info' }, stream) };
}

describe('RATE_LIMIT_PER_MINUTE', () => {
  it('counts REST, GraphQL and each operation on a WebSocket together, and says when to try again', async () => {
    const app = await startAppForTest({ rateLimitPerMinute: 10 });
    const client = await app.tenant();
    const socket = connect(app.url, client.apiKey);
    let closings = 0;
    socket.on('closed', () => closings++);

    for (const remaining of ['9', '8', '7']) {
      const { status, headers } = await ask(client);
      expect(status).toBe(200);
      expect(headers.get('ratelimit-limit')).toBe('10');
      expect(headers.get('ratelimit-remaining')).toBe(remaining);
      expect(Number(headers.get('ratelimit-reset'))).toBeOneOf([58, 59, 60]);
      expect(headers.has('retry-after')).toBe(false);
    }
    // What runs keeps the socket open; it counted once.
    await subscribe(socket, 'subscription { messageAdded { sequence } }');
    for (let count = 1; count <= 3; count++) {
      expect((await client.graphql('{ viewer { tenantId } }')).status).toBe(200);
      expect((await overWebSocket(socket)).data).toEqual({ viewer: { tenantId: client.tenantId } });
    }

    const rest = await ask(client);
    expect(rest.status).toBe(429);
    expect(rest.body.error).toEqual({
      code: 'rate_limited',
      message: expect.stringMatching(
        /^The API key has used up its requests \(10 a minute\); try again in \d+ s$/,
      ),
    });
    const retryAfter = rest.headers.get('retry-after') ?? '';
    expect(retryAfter).toMatch(/^[1-9]\d?$/);
    expect(Number(retryAfter)).toBeLessThanOrEqual(60);
    expect(rest.headers.get('ratelimit-limit')).toBe('10');
    expect(rest.headers.get('ratelimit-remaining')).toBe('0');
    expect(rest.headers.get('ratelimit-reset')).toBe(retryAfter);

    const graphql = await client.graphql('{ viewer { tenantId } }');
    expect(graphql.status).toBe(429);
    expect(graphql.headers.get('retry-after')).toMatch(/^[1-9]\d?$/);
    expect(graphql.body.errors[0].extensions).toEqual({
      code: 'RATE_LIMITED',
      retryAfterSeconds: Number(graphql.headers.get('retry-after')),
    });

    const { errors } = await overWebSocket(socket);
    expect(errors[0].extensions).toEqual({ code: 'RATE_LIMITED', retryAfterSeconds: expect.any(Number) });
    expect(closings).toBe(0);
  });

  it('is a budget of each key, which no stranger and no unknown path can spend', async () => {
    const app = await startAppForTest({ rateLimitPerMinute: 4 });
    const client = await app.tenant();
    const stranger = app.client('parley_not_a_key_of_anybody');
    expect(await statusesOf(10, () => ask(stranger))).toEqual(times(10, 401));
    expect(await statusesOf(10, () => client.rest('GET', '/nowhere'))).toEqual(times(10, 404));

    expect(await statusesOf(5, () => ask(client))).toEqual([...times(4, 200), 429]);
    const neighbour = await app.keyFor(client, ['conversations:read']);
    expect(await statusesOf(5, () => ask(neighbour))).toEqual([...times(4, 200), 429]);
  });

  it('is whole again after a minute', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const app = await startAppForTest({ rateLimitPerMinute: 2 });
    const { operator: client } = app;
    expect(await statusesOf(3, () => ask(client))).toEqual([200, 200, 429]);
    vi.setSystemTime(Date.now() + 58_000);
    const { status, headers } = await ask(client);
    expect([status, headers.get('retry-after')]).toBeOneOf([
      [429, '1'],
      [429, '2'],
    ]);
    vi.setSystemTime(Date.now() + 2_000);
    expect(await statusesOf(3, () => ask(client))).toEqual([200, 200, 429]);
  });

  it('is no limit when unset, and nothing is said of one', async () => {
    const app = await startAppForTest();
    expect(parseConfig({}).rateLimitPerMinute).toBeNull();
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(app.operator)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect([...answers[0]!.headers.keys()].filter((name) => /ratelimit|retry/.test(name))).toEqual([]);
  });

  it.each([
    { RATE_LIMIT_PER_MINUTE: '0' },
    { RATE_LIMIT_PER_MINUTE: 'many' },
    { REDIS_URL: 'localhost:6379' },
    { REDIS_URL: 'http://localhost' },
  ])('is refused at the start as %o', (environment) => {
    expect(() => parseConfig(environment)).toThrow(`${Object.keys(environment)[0]}: must be a`);
  });
});

describe('a budget', () => {
  it.each(['in memory', 'in Redis'])('%s is not spent by what it refuses', async (where) => {
    const redis = where === 'in Redis' ? new Redis((await startRedis()).url) : null;
    onTestFinished(() => redis?.disconnect());
    if (redis) await eventually(() => redis.status === 'ready');
    const limiter = createRateLimiter({
      budget: 'points',
      pointsPerMinute: 100,
      redis,
      log: createLog('silent'),
    });
    expect(await limiter.consume('key', 80)).toMatchObject({ limit: 100, remaining: 20 });
    const refusal = await limiter.consume('key', 30).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(RateLimited);
    expect((refusal as RateLimited).allowance).toMatchObject({ limit: 100, remaining: 20 });
    expect((refusal as RateLimited).allowance.resetSeconds).toBeGreaterThan(0);
    expect(await limiter.consume('key', 20)).toMatchObject({ remaining: 0 });
    await expect(limiter.consume('key', 1)).rejects.toBeInstanceOf(RateLimited);
    expect(await limiter.consume('another key', 100)).toMatchObject({ remaining: 0 });
  });
});

describe('REDIS_URL', () => {
  /** Two Parleys on one database and one Redis. */
  async function pair(rateLimitPerMinute: number) {
    const redis = await startRedis();
    const { log, lines } = keepLog();
    const first = await startApp({ rateLimitPerMinute, redisUrl: redis.url }, {}, log);
    onTestFinished(() => first.close());
    const { databaseUrl, apiKey, operator } = first;
    const { secretsKey } = first.services.config;
    const second = await startAppForTest({
      rateLimitPerMinute,
      redisUrl: redis.url,
      databaseUrl,
      secretsKey,
      bootstrapApiKey: apiKey,
    });
    return { redis, lines, here: operator, there: second.operator };
  }

  it('makes processes share the budget of a key', async () => {
    const { here, there } = await pair(6);
    const remaining: unknown[] = [];
    for (const client of [here, there, there, here, there, here]) {
      remaining.push((await ask(client)).headers.get('ratelimit-remaining'));
    }
    expect(remaining).toEqual(['5', '4', '3', '2', '1', '0']);
    expect((await ask(here)).status).toBe(429);
    expect((await ask(there)).status).toBe(429);
    expect((await ask(there)).headers.get('retry-after')).toMatch(/^[1-9]\d?$/);
  });

  it('costs no request anything when Redis goes away: each process counts alone, until it is back', async () => {
    const { redis, lines, here, there } = await pair(4);
    expect(await statusesOf(2, () => ask(here))).toEqual([200, 200]);
    await redis.kill();
    expect(await statusesOf(5, () => ask(here))).toEqual([...times(4, 200), 429]);
    expect(await statusesOf(5, () => ask(there))).toEqual([...times(4, 200), 429]);

    await redis.start();
    // A Redis that was killed has forgotten what was spent, so that a whole budget shows that it is asked again.
    await eventually(async () => (await ask(here)).status === 200);
    await eventually(async () => (await ask(there)).status === 429 || (await ask(here)).status === 429);
    expect((await ask(here)).status).toBe(429);
    expect((await ask(there)).status).toBe(429);

    await eventually(() => lines.some((line) => line.includes('Redis is back')));
    expect(lines.filter((line) => line.includes('Redis is away'))).toHaveLength(1);
    expect(lines.filter((line) => line.includes('counted by each process alone'))).toHaveLength(1);
  });

  it('costs no request much when Redis stops answering', async () => {
    const { redis, here } = await pair(1_000);
    expect((await ask(here)).status).toBe(200);
    redis.freeze();
    const times: number[] = [];
    for (let count = 0; count < 30; count++) {
      const start = performance.now();
      expect((await ask(here)).status).toBe(200);
      times.push(performance.now() - start);
    }
    expect(Math.max(...times)).toBeLessThan(1_000);
    // Found out once or twice, not by every request.
    expect(times.filter((time) => time > 200).length).toBeLessThanOrEqual(4);
    redis.wake();
    await eventually(async () => Number((await ask(here)).headers.get('ratelimit-remaining')) > 990);
  });

  it('does not keep Parley from starting without it', async () => {
    const redis = await startRedis();
    await redis.kill();
    const app = await startAppForTest({ rateLimitPerMinute: 3, redisUrl: redis.url });
    expect(await statusesOf(4, () => ask(app.operator))).toEqual([...times(3, 200), 429]);
    await redis.start();
    await eventually(async () => (await ask(app.operator)).status === 200);
  });
});
