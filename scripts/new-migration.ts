import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { datamodelFile, pendingMigrationSql, projectPaths, type SchemaPaths } from './migration-diff.js';
import { runPrisma } from './prisma-cli.js';

/** Writes the next migration and returns its SQL file, or undefined when schema and migrations agree. */
async function writeMigration(name: string, paths: SchemaPaths): Promise<string | undefined> {
  runPrisma('format', paths.schemaFile);
  const sql = await pendingMigrationSql(paths);
  if (sql === '') return undefined;

  const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
  const directory = join(paths.migrationsDir, `${stamp}_${name}`);
  mkdirSync(directory, { recursive: true });
  copyFileSync(paths.schemaFile, join(directory, datamodelFile));
  const sqlFile = join(directory, 'migration.sql');
  writeFileSync(sqlFile, sql);
  // Part of Prisma's layout, so that `prisma migrate deploy` works on it too.
  writeFileSync(join(paths.migrationsDir, 'migration_lock.toml'), 'provider = "postgresql"\n');
  return sqlFile;
}

const [name, schemaFile, migrationsDir] = process.argv.slice(2);
if (!name || !/^[a-z0-9_]+$/.test(name)) {
  process.stderr.write('Usage: npx tsx scripts/new-migration.ts <name_in_snake_case>\n');
  process.exitCode = 2;
} else {
  const sqlFile = await writeMigration(
    name,
    schemaFile && migrationsDir ? { schemaFile, migrationsDir } : projectPaths,
  );
  process.stdout.write(
    sqlFile
      ? `Wrote ${sqlFile}\nReview it and add by hand what Prisma cannot say, before it runs anywhere.\n`
      : 'The migrations already lead to this schema: nothing to do.\n',
  );
}
