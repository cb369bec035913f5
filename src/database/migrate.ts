import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { type Migration, migrationsDir, readMigrations } from './migration-files.js';

/** Any number that nothing else in the database locks. */
const MIGRATION_LOCK = 7_265_901;

const UNDEFINED_TABLE = '42P01';

/** Prisma's own table, to the letter, so that `prisma migrate` reads and continues our history. */
const CREATE_HISTORY = `
  CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum            VARCHAR(64) NOT NULL,
    finished_at         TIMESTAMPTZ,
    migration_name      VARCHAR(255) NOT NULL,
    logs                TEXT,
    rolled_back_at      TIMESTAMPTZ,
    started_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
  )`;

interface HistoryRow {
  readonly name: string;
  readonly checksum: string;
  readonly finished: boolean;
}

/**
 * Brings the database to the newest migration, as `prisma migrate deploy` would, and returns the names of the
 * migrations it applied. Safe to call from many processes at once; costs one query when there is nothing to do.
 * Throws when a migration fails or was edited after it had been applied.
 *
 * It does without Prisma's engine for two reasons. Each migration commits together with its history row, so
 * being killed at any moment leaves nothing to repair, where the engine leaves a "failed" migration. And the
 * engine is a download; its WebAssembly form goes through an adapter that cuts scripts at every `;`, those
 * inside function bodies included.
 */
export async function migrate(
  connectionString: string,
  directory = migrationsDir,
): Promise<{ applied: string[] }> {
  const migrations = await readMigrations(directory);
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    if (pending(migrations, await readHistory(client)).length === 0) return { applied: [] };

    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await client.query(CREATE_HISTORY);
    const applied: string[] = [];
    for (const migration of pending(migrations, await readHistory(client))) {
      await apply(client, migration);
      applied.push(migration.name);
    }
    return { applied };
  } finally {
    await client.end();
  }
}

async function readHistory(client: pg.Client): Promise<HistoryRow[]> {
  try {
    const { rows } = await client.query<HistoryRow>(`
      SELECT migration_name AS name, checksum, finished_at IS NOT NULL AS finished
      FROM _prisma_migrations
      WHERE rolled_back_at IS NULL`);
    return rows;
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === UNDEFINED_TABLE) return [];
    throw error;
  }
}

/**
 * The migrations still to run. What the database has beyond ours is no fault: during a rolling upgrade an older
 * process may start after a newer one has migrated.
 */
function pending(migrations: Migration[], history: HistoryRow[]): Migration[] {
  const recorded = new Map(history.map((row) => [row.name, row]));
  return migrations.filter(({ name, checksum }) => {
    const row = recorded.get(name);
    if (!row) return true;
    if (!row.finished) {
      throw new Error(
        `Migration ${name} was begun by another tool and did not finish. Repair what it left behind, then let ` +
          `it run again with: DELETE FROM _prisma_migrations WHERE migration_name = '${name}'`,
      );
    }
    if (row.checksum !== checksum) {
      throw new Error(
        `Migration ${name} was edited after it had been applied to this database. ` +
          'Restore the file and put the change into a new migration.',
      );
    }
    return false;
  });
}

async function apply(client: pg.Client, { name, sql, checksum }: Migration): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query(sql);
    await client.query(
      `INSERT INTO _prisma_migrations (id, migration_name, checksum, finished_at, applied_steps_count)
       VALUES ($1, $2, $3, clock_timestamp(), 1)`,
      [randomUUID(), name, checksum],
    );
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw new Error(`Migration ${name} failed: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}
