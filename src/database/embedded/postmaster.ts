import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, rename, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Cluster } from './cluster.js';
import { findPostmaster, isServerOn, type Postmaster, removeStalePidFile } from './pid-file.js';
import { runAs, serverEnvironment } from './server-user.js';

/** Recovery after a crash under load takes its time. What cannot start at all exits, and is reported at once. */
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_SECONDS = 30;
const POLL_INTERVAL_MS = 25;
const LOG_FILE_LIMIT_BYTES = 10_000_000;

export type Settings = Readonly<Record<string, string>>;

const DEFAULT_SETTINGS: Settings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '256MB',
  // What initdb writes goes by the size of a segment.
  max_wal_size: '1GB',
  min_wal_size: '80MB',
  log_lock_waits: 'on',
  // Connections keep the plans of their first statements, and of how they check foreign keys, until a table is
  // analysed. Those made while it was small go through all of it, so it is looked at often while it grows.
  autovacuum_naptime: '5s',
  timezone: 'UTC',
};

/**
 * Another process took the port between our choosing it and Postgres binding it, another Parley was quicker, or
 * the last sessions of a killed server have not noticed yet. All of it passes.
 */
const PASSING_FAULT =
  /could not create any TCP|lock file .* already exists|shared memory block .* is still in use/;

/**
 * Finds the server that runs on this cluster, perhaps left behind by a Parley that was killed, or starts one,
 * and waits until it takes connections. `port` is chosen freely unless given.
 */
export async function ensureRunning(
  cluster: Cluster,
  settings: Settings,
  port?: number,
): Promise<Postmaster> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  let child: ChildProcess | undefined;
  while (Date.now() < deadline) {
    const postmaster = await findPostmaster(cluster.pgData);
    if (postmaster?.ready) return postmaster;
    if (!postmaster && !isAlive(child)) {
      if (child && !PASSING_FAULT.test(await lastFault(cluster))) break;
      await removeStalePidFile(cluster.pgData);
      child = await spawnServer(cluster, settings, port ?? (await findFreePort()));
    }
    await delay(POLL_INTERVAL_MS);
  }
  if (child && isAlive(child)) {
    child.kill('SIGQUIT');
    await once(child, 'exit');
  }
  throw new Error(`Postgres did not start. The end of ${cluster.logFile}:\n${await logTail(cluster)}`);
}

/** Stops the server, if one runs, and returns when its process is gone. Sessions still open are cut off. */
export async function stopServer(cluster: Cluster): Promise<void> {
  const { binaries, pgData, user } = cluster;
  const postmaster = await findPostmaster(pgData);
  if (!postmaster) return;
  const stop = (mode: string) =>
    runAs(user, binaries.pgCtl, ['stop', '-D', pgData, '-m', mode, '-t', String(STOP_TIMEOUT_SECONDS)]);
  await stop('fast').catch(() => stop('immediate'));
  while (await isServerOn(pgData, postmaster.pid)) await delay(POLL_INTERVAL_MS);
}

/** In a session of its own: neither Ctrl-C on our terminal nor our death may take it along. */
async function spawnServer(cluster: Cluster, settings: Settings, port: number): Promise<ChildProcess> {
  const options = Object.entries({ ...DEFAULT_SETTINGS, ...settings, port: String(port) });
  const log = await openLog(cluster.logFile);
  try {
    if (cluster.user) await log.chown(cluster.user.uid, cluster.user.gid);
    const child = spawn(
      cluster.binaries.postgres,
      ['-D', cluster.pgData, ...options.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      {
        ...cluster.user,
        cwd: dirname(cluster.pgData),
        env: serverEnvironment(),
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
      },
    );
    await once(child, 'spawn');
    child.unref();
    return child;
  } finally {
    await log.close();
  }
}

function isAlive(child: ChildProcess | undefined): boolean {
  return child !== undefined && child.exitCode === null && child.signalCode === null;
}

async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Opens the log for appending. One old file is kept: nothing else bounds what Postgres writes. */
async function openLog(logFile: string) {
  const size = await stat(logFile).then(
    (file) => file.size,
    () => 0,
  );
  if (size > LOG_FILE_LIMIT_BYTES) await rename(logFile, `${logFile}.1`);
  return open(logFile, 'a', 0o600);
}

async function lastFault(cluster: Cluster): Promise<string> {
  return (await readFile(cluster.logFile, 'utf8')).match(/FATAL: .*/g)?.at(-1) ?? '';
}

async function logTail(cluster: Cluster): Promise<string> {
  return (await readFile(cluster.logFile, 'utf8')).trimEnd().split('\n').slice(-20).join('\n');
}
