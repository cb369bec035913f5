import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { STORE_MESSAGE } from '../reference/store-message.js';
import { type Figures, Latencies } from './figures.js';
import { WORDS } from './fill.js';

const run = promisify(execFile);

export interface PgbenchOptions {
  readonly database: string;
  readonly clients: number;
  readonly seconds: number;
  readonly tenants: number;
  /** Of each tenant. */
  readonly threads: number;
}

/** The reference's statement with what it is given as pgbench's variables. */
const SCRIPT = STORE_MESSAGE.replace(/\$(\d)/g, (_, parameter: string) => {
  const participant = "('participant_' || :thread::int)";
  const body = `'Message: ${WORDS}'`;
  const values = [
    "('tenant_' || :tenant::int)",
    "('workflow_' || :thread::int % 10)",
    participant,
    "'chat'",
    participant,
    `jsonb_build_object('body', ${body})::text`,
    body,
  ];
  return values[Number(parameter) - 1] ?? '';
});

/** What Postgres does without any server in front of it: pgbench commits one message per transaction. */
export async function runPgbench(options: PgbenchOptions): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), 'parley-pgbench-'));
  try {
    const script = join(directory, 'script.sql');
    const { tenants, threads, clients, seconds, database } = options;
    await writeFile(
      script,
      `\\set tenant random(1, ${tenants})\n\\set thread random(0, ${threads - 1})\n${SCRIPT.replaceAll('\n', ' ')};\n`,
    );
    const args = ['--no-vacuum', '--protocol=prepared', `--client=${clients}`, '--jobs=2', '--log'];
    const time = `--time=${Math.max(1, Math.round(seconds))}`;
    const { stdout } = await run('pgbench', [...args, time, `--file=${script}`, database], {
      cwd: directory,
    });
    return await toFigures(directory, stdout);
  } catch (error) {
    throw new Error('This case needs pgbench on the PATH (Debian: postgresql-contrib)', { cause: error });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function toFigures(directory: string, report: string): Promise<Figures> {
  const latencies = new Latencies();
  for (const file of (await readdir(directory)).filter((name) => name.startsWith('pgbench_log'))) {
    const lines = (await readFile(join(directory, file), 'utf8')).trimEnd().split('\n');
    for (const line of lines) latencies.record(Number(line.split(' ')[2]) / 1_000);
  }
  const perSecond = Number(/^tps = ([\d.]+)/m.exec(report)?.[1]);
  const failed = Number(/number of failed transactions: (\d+)/.exec(report)?.[1] ?? 0);
  return { ...latencies.figures(1, failed), perSecond };
}
