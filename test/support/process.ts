import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFailed, onTestFinished } from 'vitest';
import { type Client, createClient } from './app.js';
import { makeDataDir, removeDataDir } from './postgres.js';
import { eventually } from './receiver.js';

const PROGRAM = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const READY_TIMEOUT_MS = 60_000;
const EXIT_TIMEOUT_MS = 30_000;

type Environment = Readonly<Record<string, string>>;

/** The built program as a child process, leader of a process group of its own. */
export interface Program {
  readonly pid: number;
  /** What it printed so far. */
  stdout(): string;
  /** What it logged so far. */
  stderr(): string;
  /** The exit code; null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** Sends a signal to the whole process group, as a terminal does on Ctrl-C; resolves when it has exited. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/** The program, ready for requests. */
export interface Parley extends Program {
  readonly url: string;
  readonly apiKey: string;
  /** The line that the program printed to be pasted. */
  readonly curl: string;
  /** The bootstrap tenant's operator. */
  readonly operator: Client;
  /** SIGKILL: no chance to do anything. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  terminate(): Promise<number | null>;
}

/** A data directory of one test's own, and the real programs on it. */
export interface Installation {
  readonly dataDir: string;
  /** Starts the program without waiting for anything. */
  spawn(environment?: Environment): Program;
  /** Starts the program and waits for `/readyz`. Fails with what it logged when it exits instead. */
  start(environment?: Environment): Promise<Parley>;
  /** The process id in `postmaster.pid`, which a crash leaves behind. */
  postmasterPid(): Promise<number>;
  /** Where its embedded Postgres can be reached, while that runs. */
  databaseUrl(): Promise<string>;
  /** Everything that runs with this data directory: the program, Postgres, and Postgres's children. */
  processes(): Promise<number[]>;
}

/**
 * A new installation; `environment` applies to all its starts. When the test ends, everything that still runs
 * there is killed, also a Postgres whose Parley was killed, and the data directory is removed.
 */
export async function install(environment: Environment = {}): Promise<Installation> {
  const dataDir = await makeDataDir();
  const programs: Program[] = [];
  const pgFile = (name: string) => readFile(join(dataDir, 'postgres', name), 'utf8');
  const postmasterFile = async () => (await pgFile('data/postmaster.pid')).split('\n');

  const installation: Installation = {
    dataDir,
    spawn(more = {}) {
      const program = spawnProgram({ DATA_DIR: dataDir, PORT: '0', ...environment, ...more });
      programs.push(program);
      return program;
    },
    start: async (more) => whenReady(installation.spawn(more)),
    postmasterPid: async () => Number((await postmasterFile())[0]),
    async databaseUrl() {
      const [, , , port] = await postmasterFile();
      return `postgresql://parley:${await pgFile('password')}@127.0.0.1:${port}/parley`;
    },
    processes: () => processesOf(dataDir),
  };

  onTestFailed(async () => {
    const logs = [
      ...programs.map((program) => program.stderr()),
      await pgFile('postgres.log').catch(() => ''),
    ];
    process.stderr.write(`${logs.map((log) => log.slice(-10_000)).join('\n')}\n`);
  });
  onTestFinished(async () => {
    await Promise.all(programs.map((program) => program.end('SIGKILL')));
    for (const pid of await processesOf(dataDir)) kill(pid, 'SIGKILL');
    await eventually(async () => (await processesOf(dataDir)).length === 0);
    await removeDataDir(dataDir);
  });
  return installation;
}

function spawnProgram(environment: Environment): Program {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [PROGRAM], {
    env: { PATH, HOME, ...environment },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  // 'close' and not 'exit', so that everything it printed has arrived.
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return {
    pid: child.pid!,
    stdout,
    stderr,
    exited,
    async end(signal) {
      if (!hasExited(child)) kill(-child.pid!, signal);
      await eventually(() => hasExited(child), {
        timeoutMs: EXIT_TIMEOUT_MS,
        describe: () => `the program to exit after ${signal}. It logged:\n${stderr()}`,
      });
      return exited;
    },
  };
}

async function whenReady(program: Program): Promise<Parley> {
  let hasExited = false;
  void program.exited.then(() => (hasExited = true));
  await eventually(
    async () => {
      if (hasExited) throw new Error(`The program exited. It logged:\n${program.stderr()}`);
      const url = printed(program, /Health +(\S+)/);
      return url !== '' && (await fetch(url)).status === 200;
    },
    { timeoutMs: READY_TIMEOUT_MS, describe: () => `/readyz. The program logged:\n${program.stderr()}` },
  );
  const url = printed(program, /Health +(\S+)\/readyz/);
  const apiKey = printed(program, /API key +(\S+)/);
  return {
    ...program,
    url,
    apiKey,
    curl: printed(program, /^ *(curl .*)$/m),
    operator: createClient(url, apiKey),
    kill: async () => void (await program.end('SIGKILL')),
    terminate: () => program.end('SIGTERM'),
  };
}

const printed = (program: Program, pattern: RegExp): string => pattern.exec(program.stdout())?.[1] ?? '';

const hasExited = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return () => text;
}

/** A process that is gone by now is what was wanted. */
function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/**
 * The processes that run with a data directory: Parley has it in its environment, and all of Postgres's work in
 * its own part of it. Zombies have neither. Reads /proc, so it finds nothing where there is none.
 */
async function processesOf(dataDir: string): Promise<number[]> {
  const postgresDir = await realpath(join(dataDir, 'postgres')).catch(() => dataDir);
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const workingDir = await readlink(`/proc/${pid}/cwd`).catch(() => '');
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      return (
        [dataDir, postgresDir].some((directory) => workingDir.startsWith(directory)) ||
        environment.split('\0').includes(`DATA_DIR=${dataDir}`)
      );
    }),
  );
  return pids.filter((_, index) => found[index]).map(Number);
}
