import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ColumnTypeEnum,
  mockMigrationAwareAdapterFactory,
  type SqlMigrationAwareDriverAdapterFactory,
} from '@prisma/driver-adapter-utils';
import { migrationsDir, prismaDir, readMigrations } from '../src/database/migration-files.js';
import { withSchemaEngine } from './schema-engine.js';

export interface SchemaPaths {
  readonly schemaFile: string;
  readonly migrationsDir: string;
}

export const projectPaths: SchemaPaths = { schemaFile: join(prismaDir, 'schema.prisma'), migrationsDir };

/** Each migration keeps the datamodel that it leads to beside its SQL, under this name. */
export const datamodelFile = 'schema.prisma';

/**
 * The SQL that leads from the last migration to `schema.prisma`; empty when the two agree.
 *
 * It compares datamodels and never a database: the WebAssembly engine cannot read a live one. So what is
 * written into a migration by hand (a partial index, a function) is neither seen nor undone.
 */
export async function pendingMigrationSql(paths = projectPaths): Promise<string> {
  const last = (await readMigrations(paths.migrationsDir)).at(-1);
  const from = last && join(paths.migrationsDir, last.name, datamodelFile);
  if (from && !existsSync(from)) throw new Error(`${from} is missing; every migration keeps its datamodel`);

  const filters = { externalTables: [], externalEnums: [] };
  const diff = await withSchemaEngine(withoutDatabase, (engine) =>
    engine.diff({
      from: from ? datamodel(from) : { tag: 'empty' },
      to: datamodel(paths.schemaFile),
      script: true,
      exitCode: true,
      filters,
    }),
  );
  const nothingToDo = diff.exitCode === 0;
  return nothingToDo ? '' : (diff.stdout ?? '');
}

function datamodel(path: string) {
  return { tag: 'schemaDatamodel' as const, files: [{ path, content: readFileSync(path, 'utf8') }] };
}

/**
 * On construction the engine asks for the database's version and for nothing else when it compares two
 * datamodels. The answer names the oldest version that Parley supports.
 */
const withoutDatabase: SqlMigrationAwareDriverAdapterFactory = {
  ...mockMigrationAwareAdapterFactory('postgres'),
  connect: async () => ({
    ...(await mockMigrationAwareAdapterFactory('postgres').connect()),
    queryRaw: async () => ({
      columnNames: ['exists', 'version', 'numeric_version'],
      columnTypes: [ColumnTypeEnum.Boolean, ColumnTypeEnum.Text, ColumnTypeEnum.Int32],
      rows: [[true, 'PostgreSQL 15.0', 150000]],
    }),
  }),
};
