import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { eventually } from './receiver.js';

/** A Redis of one test's own, in memory only. */
export interface TestRedis {
  readonly url: string;
  /** Starts it again, empty, at the same address. */
  start(): Promise<void>;
  /** Empties it. */
  flush(): Promise<void>;
  /** Ends it at once. */
  kill(): Promise<void>;
  /** It takes connections and commands, and answers nothing until it is woken. */
  freeze(): void;
  wake(): void;
}

/** Whether there is a `redis-server` to start. */
export const hasRedis = spawnSync('redis-server', ['--version']).status === 0;

/** As many as a run may want of them: every Parley has one of its own. */
const DATABASES = 1_000;

/** Starts Debian's `redis-server` on a free port of loopback; the test's end ends it. */
export async function startRedis(): Promise<TestRedis> {
  const redis = await openRedis();
  onTestFinished(() => redis.kill());
  return redis;
}

/** As `startRedis`, for `beforeAll`: whoever opens it kills it. */
export async function openRedis(): Promise<TestRedis> {
  const port = await freePort();
  let server: ChildProcess | null = null;

  const redis: TestRedis = {
    url: `redis://127.0.0.1:${port}`,
    async start() {
      server = spawnServer(port);
      let fault: Error | null = null;
      server.once('error', (error) => (fault = explain(error)));
      await eventually(
        () => {
          if (fault) throw fault;
          return answers(port);
        },
        { describe: () => `Redis on port ${port}` },
      );
    },
    async flush() {
      const client = new Redis(redis.url);
      await client.flushall();
      client.disconnect();
    },
    async kill() {
      if (!server || server.exitCode !== null || server.signalCode !== null) return;
      const exited = once(server, 'exit');
      server.kill('SIGKILL');
      await exited;
    },
    freeze: () => void server?.kill('SIGSTOP'),
    wake: () => void server?.kill('SIGCONT'),
  };

  await redis.start();
  return redis;
}

const spawnServer = (port: number) =>
  spawn(
    'redis-server',
    [
      ...['--port', `${port}`, '--bind', '127.0.0.1', '--databases', `${DATABASES}`],
      ...['--save', '', '--appendonly', 'no'],
    ],
    { stdio: 'ignore' },
  );

const explain = (error: NodeJS.ErrnoException) =>
  error.code === 'ENOENT'
    ? new Error('There is no redis-server. On Debian: apt-get install redis-server (it need not run)')
    : error;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether something at the port answers PING. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    const settle = (isThere: boolean) => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once('data', () => settle(true)).once('error', () => settle(false));
  });
}
