import { appendFile, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pendingMigrationSql, projectPaths } from '../../scripts/migration-diff.js';
import { withSchemaEngine } from '../../scripts/schema-engine.js';
import { migrate } from '../../src/database/migrate.js';
import { readMigrations } from '../../src/database/migration-files.js';
import { createDatabase, type TestDatabase } from '../support/postgres.js';

let scratch: string;
let database: TestDatabase;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'parley-migrations-'));
  database = await createDatabase({ empty: true });
});

afterEach(async () => {
  await database.drop();
  await rm(scratch, { recursive: true });
});

test('the schema and the migrations agree', async () => {
  expect(await pendingMigrationSql()).toBe('');
});

test('a change of the schema without a migration is noticed', async () => {
  const schemaFile = join(scratch, 'schema.prisma');
  await cp(projectPaths.schemaFile, schemaFile);
  await appendFile(schemaFile, '\nmodel Forgotten {\n  id Int @id\n}\n');
  expect(await pendingMigrationSql({ ...projectPaths, schemaFile })).toContain('CREATE TABLE "Forgotten"');
});

test('the migrations build every column that the schema describes', async () => {
  const described = await createDatabase({ empty: true });
  await run(described, await pendingMigrationSql({ ...projectPaths, migrationsDir: scratch }));
  await migrate(database.connectionString);
  expect(await columns(database)).toEqual(expect.arrayContaining(await columns(described)));
  await described.drop();
});

test('applies every migration once', async () => {
  const names = (await readMigrations()).map(({ name }) => name);
  expect(await migrate(database.connectionString)).toEqual({ applied: names });
  expect(await migrate(database.connectionString)).toEqual({ applied: [] });
});

test('foreign keys are checked by the primary key from the first row on', async () => {
  await migrate(database.connectionString);
  for (const table of ['conversation_thread', 'conversation_message', 'delivery']) {
    // The statement that Postgres checks them with.
    const plan = JSON.stringify(
      await run(
        database,
        `PREPARE check_${table} (text, uuid) AS
           SELECT 1 FROM ONLY ${table} x WHERE tenant_id = $1 AND id = $2 FOR KEY SHARE OF x;
         SET plan_cache_mode = force_generic_plan;
         EXPLAIN EXECUTE check_${table} ('tenant', '00000000-0000-7000-8000-000000000000')`,
      ),
    );
    expect(plan, table).toContain(`Index Scan using ${table}_pkey`);
  }
});

test('a new database is empty, and counts from the beginning', async () => {
  await migrate(database.connectionString);
  const tables = (await run(
    database,
    "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_prisma_migrations'",
  )) as { name: string }[];
  expect(tables.length).toBeGreaterThan(15);
  for (const { name } of tables) expect(await run(database, `SELECT * FROM ${name}`), name).toEqual([]);
  const [log] = await run(
    database,
    "SELECT nextval(pg_get_serial_sequence('conversation_message_log', 'id'))::int AS next",
  );
  expect(log).toEqual({ next: 1 });
});

test('four processes that migrate an empty database at once all succeed', async () => {
  const names = (await readMigrations()).map(({ name }) => name);
  const results = await Promise.all([1, 2, 3, 4].map(() => migrate(database.connectionString)));
  expect(results.flatMap(({ applied }) => applied)).toEqual(names);
});

test("the history it writes is Prisma's own", async () => {
  await migrate(database.connectionString);
  const diagnosis = await diagnoseWithPrisma(database);
  expect(diagnosis).toMatchObject({
    hasMigrationsTable: true,
    history: null,
    failedMigrationNames: [],
    editedMigrationNames: [],
  });
});

test('a migration that fails leaves nothing behind and runs again once it is repaired', async () => {
  await writeMigration('1_broken', 'CREATE TABLE half (id int); SELECT * FROM missing;');
  await expect(migrate(database.connectionString, scratch)).rejects.toThrow(
    'Migration 1_broken failed: relation "missing" does not exist',
  );
  await writeMigration('1_broken', 'CREATE TABLE half (id int);');
  expect(await migrate(database.connectionString, scratch)).toEqual({ applied: ['1_broken'] });
});

test('refuses a migration that was edited after it had been applied', async () => {
  await writeMigration('1_first', 'CREATE TABLE first (id int);');
  await migrate(database.connectionString, scratch);
  await writeMigration('1_first', 'CREATE TABLE first (id bigint);');
  await expect(migrate(database.connectionString, scratch)).rejects.toThrow(
    'Migration 1_first was edited after it had been applied',
  );
});

test('takes semicolons inside function bodies and comments', async () => {
  await writeMigration(
    '1_function',
    `-- one; two
     CREATE FUNCTION answer() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; RETURN 42; END $$;`,
  );
  await migrate(database.connectionString, scratch);
  expect(await run(database, 'SELECT answer()')).toEqual([{ answer: 42 }]);
});

async function writeMigration(name: string, sql: string): Promise<void> {
  await mkdir(join(scratch, name), { recursive: true });
  await writeFile(join(scratch, name, 'migration.sql'), sql);
}

async function run({ connectionString }: TestDatabase, sql: string): Promise<unknown[]> {
  const client = new pg.Client(connectionString);
  await client.connect();
  try {
    const results: pg.QueryResult | pg.QueryResult[] = await client.query(sql);
    return [results].flat().at(-1)?.rows ?? [];
  } finally {
    await client.end();
  }
}

function columns(of: TestDatabase): Promise<unknown[]> {
  return run(
    of,
    `SELECT table_name, column_name, udt_name, is_nullable
     FROM information_schema.columns
     WHERE table_schema = 'public'`,
  );
}

async function diagnoseWithPrisma({ connectionString }: TestDatabase) {
  const migrations = await readMigrations();
  const pool = new pg.Pool({ connectionString, max: 1 });
  const diagnosis = await withSchemaEngine(new PrismaPg(pool), (engine) =>
    engine.diagnoseMigrationHistory({
      optInToShadowDatabase: false,
      filters: { externalTables: [], externalEnums: [] },
      migrationsList: {
        baseDir: projectPaths.migrationsDir,
        lockfile: { path: 'migration_lock.toml', content: null },
        shadowDbInitScript: '',
        migrationDirectories: migrations.map(({ name, sql }) => ({
          path: name,
          migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: sql } },
        })),
      },
    }),
  );
  await pool.end();
  return diagnosis;
}
