import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Migration {
  readonly name: string;
  readonly sql: string;
  /** As in the `checksum` column of `_prisma_migrations`: hexadecimal SHA-256 of the file. */
  readonly checksum: string;
}

/** `prisma/` of this package, whether this runs from `src/` or, compiled, from `dist/`. */
export const prismaDir = fileURLToPath(new URL('../../prisma', import.meta.url));
export const migrationsDir = join(prismaDir, 'migrations');

/** The migrations of a directory in Prisma's layout, `<timestamp>_<name>/migration.sql`, oldest first. */
export async function readMigrations(directory = migrationsDir): Promise<Migration[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(join(directory, name, 'migration.sql'), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}
