import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Log } from '../log.js';
import { type Cluster, openCluster, SUPERUSER } from './embedded/cluster.js';
import { keepAlive } from './embedded/keeper.js';
import { DataDirectoryInUseError, isPassingFault, takeOwnership } from './embedded/ownership.js';
import { findPostmaster } from './embedded/pid-file.js';
import { ensureRunning, type Settings, stopServer } from './embedded/postmaster.js';

const DATABASE = 'parley';
const CONNECT_TIMEOUT_MS = 30_000;
const CONNECT_INTERVAL_MS = 100;

export interface EmbeddedPostgres {
  readonly connectionString: string;
  /** Shuts Postgres down and returns when its process is gone; sessions still open are cut off. */
  stop(): Promise<void>;
}

export interface EmbeddedPostgresOptions {
  readonly dataDir: string;
  readonly log: Log;
  /** Postgres settings that replace ours, such as `fsync: 'off'`. */
  readonly settings?: Settings;
}

interface Owned {
  readonly port: number;
  readonly owner: pg.Client;
}

/**
 * Starts a real Postgres on 127.0.0.1 with its files under `dataDir`, or takes over one that a killed Parley
 * left running there. Should the server die, it is started again on the same port. Throws when another Parley
 * uses the directory, without disturbing it.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { log, settings = {} } = options;
  const cluster = await openCluster(resolve(options.dataDir));
  const own = (port?: number) => takeOver(cluster, settings, port);

  const { port, owner } = await own();
  try {
    await createDatabase(owner);
  } catch (error) {
    await stopServer(cluster);
    await owner.end();
    throw error;
  }
  log.info({ port, directory: cluster.pgData }, 'embedded Postgres is running');
  const keeper = keepAlive(owner, async () => (await own(port)).owner, log);

  const shutDown = async () => {
    // The lock goes down with the server, so nobody can take over a server that is about to end.
    const lastOwner = await keeper.stop();
    await stopServer(cluster);
    await lastOwner.end();
  };
  let stopped: Promise<void> | undefined;
  return {
    connectionString: connectionString(cluster, port, DATABASE),
    stop() {
      stopped ??= shutDown();
      return stopped;
    },
  };
}

/** Leaves nothing running when it fails, except what ran before. */
async function takeOver(cluster: Cluster, settings: Settings, wantedPort?: number): Promise<Owned> {
  const ranBefore = await findPostmaster(cluster.pgData);
  const deadline = Date.now() + CONNECT_TIMEOUT_MS;
  for (;;) {
    const { port } = await ensureRunning(cluster, settings, wantedPort);
    try {
      return { port, owner: await takeOwnership(connectionString(cluster, port, 'postgres'), cluster.home) };
    } catch (error) {
      if (isPassingFault(error) && Date.now() < deadline) {
        await delay(CONNECT_INTERVAL_MS);
        continue;
      }
      const anotherUsesIt = error instanceof DataDirectoryInUseError;
      if (!ranBefore && !anotherUsesIt) await stopServer(cluster);
      throw error;
    }
  }
}

async function createDatabase(owner: pg.Client): Promise<void> {
  const { rowCount } = await owner.query('SELECT FROM pg_database WHERE datname = $1', [DATABASE]);
  if (rowCount === 0) await owner.query(`CREATE DATABASE ${DATABASE}`);
}

function connectionString({ password }: Cluster, port: number, database: string): string {
  return `postgresql://${SUPERUSER}:${password}@127.0.0.1:${port}/${database}`;
}
