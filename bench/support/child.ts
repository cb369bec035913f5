import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_TIMEOUT_MS = 60_000;
const LOOK_INTERVAL_MS = 20;
/** What a program under test inherits of our environment; a DATABASE_URL in it would be somebody's real one. */
const { PATH = '', HOME = '' } = process.env;

/** A program that serves something. */
export interface Child {
  readonly url: string;
  /** What it logged so far. */
  log(): Promise<string>;
  /** Stops it as an operator would, and waits until it is gone. */
  stop(): Promise<void>;
}

export interface ChildOptions {
  /** The script and its arguments, behind Node's own. */
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Where its log goes. */
  readonly logFile: string;
  /** Finds in what it printed where it listens. */
  readonly urlPattern: RegExp;
}

/**
 * Starts a Node program and waits until it says where it listens. It writes to a file, so that a reader of its log
 * costs nothing while it is measured.
 */
export async function startChild({ args, environment, logFile, urlPattern }: ChildOptions): Promise<Child> {
  const file = await open(logFile, 'a');
  const child = spawn(process.execPath, args, {
    env: { PATH, HOME, ...environment },
    detached: true, // so that Ctrl-C reaches us alone, and we stop it
    stdio: ['ignore', file.fd, file.fd],
  });
  await file.close();
  const log = () => readFile(logFile, 'utf8');
  const deadline = performance.now() + READY_TIMEOUT_MS;
  try {
    for (;;) {
      const url = urlPattern.exec(await log())?.[1];
      if (url) return { url, log, stop: () => stop(child) };
      if (hasExited(child)) throw new Error(`A program under test exited:\n${await log()}`);
      if (performance.now() > deadline) throw new Error(`A program under test is not ready:\n${await log()}`);
      await sleep(LOOK_INTERVAL_MS);
    }
  } catch (error) {
    await stop(child);
    throw error;
  }
}

const hasExited = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

async function stop(child: ChildProcess): Promise<void> {
  if (hasExited(child)) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}
