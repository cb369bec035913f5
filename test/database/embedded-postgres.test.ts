import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/database/embedded-postgres.js';
import { createLog } from '../../src/log.js';
import { makeDataDir, removeDataDir } from '../support/postgres.js';

const isRoot = process.getuid?.() === 0;
const log = createLog('silent');

let dataDir: string;
let running: EmbeddedPostgres[];
let owners: ChildProcess[];

beforeEach(async () => {
  dataDir = await makeDataDir();
  running = [];
  owners = [];
});

afterEach(async () => {
  for (const owner of owners) owner.kill('SIGKILL');
  for (const server of running) await server.stop();
  await removeDataDir(dataDir);
});

test('finds its data again, and leaves no process when it stops', async () => {
  const first = await start();
  await query(first.connectionString, "CREATE TABLE kept AS SELECT 'here' AS value");
  const pid = await postmasterPid();
  await first.stop();
  await first.stop();
  expect(isAlive(pid)).toBe(false);

  const second = await start();
  expect(await query(second.connectionString, 'SELECT value FROM kept')).toEqual([{ value: 'here' }]);
});

test('makes a UTF-8 cluster with a deterministic locale, durable by default, behind a password', async () => {
  const { connectionString } = await start();
  expect(
    await query(
      connectionString,
      `SELECT pg_encoding_to_char(encoding) AS encoding, datlocprovider, datlocale,
              current_setting('fsync') AS fsync, current_setting('listen_addresses') AS addresses,
              current_setting('unix_socket_directories') AS sockets
       FROM pg_database WHERE datname = current_database()`,
    ),
  ).toEqual([
    {
      encoding: 'UTF8',
      datlocprovider: 'b',
      datlocale: 'C.UTF-8',
      fsync: 'on',
      addresses: '127.0.0.1',
      sockets: '',
    },
  ]);
  const wrong = new URL(connectionString);
  wrong.password = 'guess';
  await expect(query(wrong.href, 'SELECT 1')).rejects.toThrow(/password authentication failed/);
  expect((await stat(join(dataDir, 'postgres', 'password'))).mode & 0o777).toBe(0o600);
});

test('refuses a second owner and does not disturb the first', async () => {
  const first = await start();
  const pid = await postmasterPid();
  await expect(start()).rejects.toThrow(`Another Parley is running with this data directory (${dataDir})`);
  expect(await postmasterPid()).toBe(pid);
  expect(await query(first.connectionString, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('lets exactly one of several simultaneous first starts win', async () => {
  const results = await Promise.allSettled([start(), start(), start()]);
  const refusals = results.filter((result) => result.status === 'rejected');
  expect(refusals).toHaveLength(2);
  for (const { reason } of refusals) expect(String(reason)).toContain('Another Parley is running');
  expect(await readdir(dataDir)).toEqual(['postgres']);
});

test('survives the death of its owner and its whole process group, and is taken over by the next', async () => {
  const owner = await startOwner();
  await query(owner.connectionString, "CREATE TABLE kept AS SELECT 'here' AS value");
  const pid = await postmasterPid();
  await owner.kill();

  const next = await start();
  expect(await postmasterPid()).toBe(pid);
  expect(next.connectionString).toBe(owner.connectionString);
  expect(await query(next.connectionString, 'SELECT value FROM kept')).toEqual([{ value: 'here' }]);
  await next.stop();
  expect(isAlive(pid)).toBe(false);
});

test('starts after a crash of everything, though the old process id belongs to another process now', async () => {
  const owner = await startOwner();
  await query(owner.connectionString, "CREATE TABLE kept AS SELECT 'here' AS value");
  await owner.kill();
  process.kill(await postmasterPid(), 'SIGKILL');
  const pidFile = await readFile(pidFilePath(), 'utf8');
  await writeFile(pidFilePath(), pidFile.replace(/^\d+/, String(process.pid)));

  const next = await start();
  expect(await query(next.connectionString, 'SELECT value FROM kept')).toEqual([{ value: 'here' }]);
});

test('brings Postgres back on the same port when it is killed under its owner', async () => {
  const server = await start();
  process.kill(await postmasterPid(), 'SIGKILL');
  await vi.waitFor(() => query(server.connectionString, 'SELECT 1'), { timeout: 20_000 });
  await server.stop();
  await expect(query(server.connectionString, 'SELECT 1')).rejects.toThrow('ECONNREFUSED');
});

test('says what the log says when Postgres cannot start, and leaves nothing running', async () => {
  await expect(start({ shared_buffers: 'nonsense' })).rejects.toThrow(/FATAL: .*shared_buffers/s);
  await expect(postmasterPid()).rejects.toThrow('ENOENT');
  await start();
});

test.runIf(isRoot)('works below a directory that only root may enter, and leaves it as it is', async () => {
  const closed = dataDir;
  dataDir = join(closed, 'checkout', '.data');
  await mkdir(join(closed, 'checkout'));
  await chmod(closed, 0o700);
  try {
    const first = await start();
    await query(first.connectionString, "CREATE TABLE kept AS SELECT 'here' AS value");
    await first.stop();
    const second = await start();
    expect(await query(second.connectionString, 'SELECT value FROM kept')).toEqual([{ value: 'here' }]);
    await second.stop();

    expect((await lstat(join(dataDir, 'postgres'))).isSymbolicLink()).toBe(true);
    const { mode, uid } = await stat(closed);
    expect([mode & 0o777, uid]).toEqual([0o700, 0]);
  } finally {
    await removeDataDir(dataDir);
    dataDir = closed;
  }
});

async function start(settings?: Record<string, string>): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir, log, settings });
  running.push(server);
  return server;
}

/** An owner in a process group of its own; `kill` takes the whole group, as nothing gentler could. */
async function startOwner() {
  const script = fileURLToPath(new URL('../support/embedded-postgres-owner.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script, dataDir], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  owners.push(child);
  const [connectionString] = (await once(createInterface(child.stdout), 'line')) as [string];
  return {
    connectionString,
    async kill() {
      process.kill(-child.pid!, 'SIGKILL');
      await once(child, 'exit');
    },
  };
}

function pidFilePath(): string {
  return join(dataDir, 'postgres', 'data', 'postmaster.pid');
}

async function postmasterPid(): Promise<number> {
  return Number.parseInt(await readFile(pidFilePath(), 'utf8'), 10);
}

/** A zombie is not: an orphan's last trace stays until a perhaps slow init collects it. */
function isAlive(pid: number): boolean {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== '';
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function query(connectionString: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client(connectionString);
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
