import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, realpath, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { inject } from 'vitest';
import { startEmbeddedPostgres } from '../../src/database/embedded-postgres.js';
import { migrate } from '../../src/database/migrate.js';
import { createLog } from '../../src/log.js';

/** The one server of a test run; vitest hands this from the global setup to every worker. */
export interface TestServer {
  readonly adminUrl: string;
  /** A migrated database that nobody is connected to. */
  readonly template: string;
}

export interface TestDatabase {
  readonly connectionString: string;
  drop(): Promise<void>;
}

declare module 'vitest' {
  interface ProvidedContext {
    postgres: TestServer;
  }
}

const CLONE_LOCK = 7_265_903;

/** Starts the server of the run, or uses the one at `TEST_DATABASE_URL`, and makes the template on it. */
export async function startTestServer(): Promise<TestServer & { stop(): Promise<void> }> {
  const external = process.env.TEST_DATABASE_URL;
  const { connectionString, stop } = external
    ? { connectionString: external, stop: async () => {} }
    : await startTemporaryPostgres();
  const template = `parley_template_${randomName()}`;
  await withAdmin(connectionString, (admin) => admin.query(`CREATE DATABASE ${template}`));
  await migrate(urlOf(connectionString, template));
  return {
    adminUrl: connectionString,
    template,
    async stop() {
      await withAdmin(connectionString, (admin) => admin.query(`DROP DATABASE ${template} WITH (FORCE)`));
      await stop();
    },
  };
}

/** A database of the test's own, migrated unless `empty`. */
export async function createDatabase({ empty = false } = {}): Promise<TestDatabase> {
  const { adminUrl, template } = inject('postgres');
  const name = `parley_test_${randomName()}`;
  await withAdmin(adminUrl, async (admin) => {
    await admin.query('SELECT pg_advisory_lock($1)', [CLONE_LOCK]);
    await admin.query(`CREATE DATABASE ${name} TEMPLATE ${empty ? 'template0' : template}`);
  });
  return {
    connectionString: urlOf(adminUrl, name),
    drop: () => withAdmin(adminUrl, (admin) => admin.query(`DROP DATABASE ${name} WITH (FORCE)`)),
  };
}

/** A temporary directory that the server's user can enter too, when the tests run as root. */
export async function makeDataDir(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'parley-test-'));
  await chmod(directory, 0o755);
  return directory;
}

/** Removes a data directory and, where it only points to Postgres's files, those and their empty parents. */
export async function removeDataDir(directory: string): Promise<void> {
  const files = await realpath(join(directory, 'postgres')).catch(() => undefined);
  await rm(directory, { recursive: true, force: true });
  if (!files || files.startsWith(directory)) return;
  await rm(files, { recursive: true });
  await rmdir(dirname(files))
    .then(() => rmdir(dirname(dirname(files))))
    .catch(() => {}); // others have theirs there
}

async function startTemporaryPostgres() {
  const dataDir = await makeDataDir();
  const server = await startEmbeddedPostgres({
    dataDir,
    log: createLog('warn'),
    settings: { fsync: 'off', max_connections: '300' },
  });
  return {
    connectionString: server.connectionString,
    async stop() {
      await server.stop();
      await removeDataDir(dataDir);
    },
  };
}

async function withAdmin(adminUrl: string, use: (admin: pg.Client) => Promise<unknown>): Promise<void> {
  const admin = new pg.Client(adminUrl);
  await admin.connect();
  try {
    await use(admin);
  } finally {
    await admin.end();
  }
}

function urlOf(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

function randomName(): string {
  return randomBytes(6).toString('hex');
}
