import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';

/**
 * Runs a Prisma command without the network and returns what it printed.
 *
 * Every Prisma command first wants its native schema engine and downloads it when it is missing. An existing
 * executable in its place satisfies that check; `generate`, `validate` and `format` never start it. Commands
 * that do need the engine (`migrate`, `db`) pretend to succeed, so do not run them through this function.
 */
export function runPrisma(command: 'generate' | 'validate' | 'format', schemaFile: string): string {
  const cli = createRequire(import.meta.url).resolve('prisma/build/index.js');
  const result = spawnSync(process.execPath, [cli, command, '--schema', schemaFile], {
    encoding: 'utf8',
    env: {
      ...process.env,
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
      PRISMA_HIDE_UPDATE_MESSAGE: '1',
      CHECKPOINT_DISABLE: '1',
    },
  });
  const output = `${result.stdout}${result.stderr}`;
  if (result.error) throw result.error;
  if (result.status !== 0) throw new Error(`prisma ${command} failed:\n${output}`);
  return output;
}
