import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { datamodelFile, pendingMigrationSql, projectPaths } from './migration-diff.js';
import { runPrisma } from './prisma-cli.js';

/** Writes the next migration and returns its SQL file, or undefined when schema and migrations agree. */
async function writeMigration(name: string): Promise<string | undefined> {
  const { schemaFile, migrationsDir } = projectPaths;
  runPrisma('format', schemaFile);
  const sql = await pendingMigrationSql();
  if (sql === '') return undefined;

  const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
  const directory = join(migrationsDir, `${stamp}_${name}`);
  mkdirSync(directory, { recursive: true });
  copyFileSync(schemaFile, join(directory, datamodelFile));
  const sqlFile = join(directory, 'migration.sql');
  writeFileSync(sqlFile, sql);
  // Part of Prisma's layout, so that `prisma migrate deploy` works on it too.
  writeFileSync(join(migrationsDir, 'migration_lock.toml'), 'provider = "postgresql"\n');
  return sqlFile;
}

const name = process.argv[2];
if (!name || !/^[a-z0-9_]+$/.test(name)) {
  process.stderr.write('Usage: npx tsx scripts/new-migration.ts <name_in_snake_case>\n');
  process.exitCode = 2;
} else {
  const sqlFile = await writeMigration(name);
  process.stdout.write(
    sqlFile
      ? `Wrote ${sqlFile}\nReview it and add by hand what Prisma cannot say, before it runs anywhere.\n`
      : 'The migrations already lead to this schema: nothing to do.\n',
  );
}
