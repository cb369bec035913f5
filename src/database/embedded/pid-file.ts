import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** A running server, as its `postmaster.pid` describes it. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
  /** Otherwise it is starting, recovering or stopping. */
  readonly ready: boolean;
}

/** The server that runs on these files, if any; a pid file that a crash left behind counts as none. */
export async function findPostmaster(pgData: string): Promise<Postmaster | undefined> {
  // Its lines: pid, data directory, start time, port, socket directory, address, shared memory, status.
  const lines = (await readPidFile(pgData)).split('\n');
  const pid = Number(lines[0]);
  if (!(await isServerOn(pgData, pid))) return undefined;
  return { pid, port: Number(lines[3]), ready: lines[7]?.trim() === 'ready' };
}

/**
 * Removes a pid file whose process is not a server on these files. Postgres only looks whether any process has
 * that number, and after a reboot one may. Should we be wrong, Postgres still refuses to start while a server is
 * attached to the shared memory that belongs to these files.
 */
export async function removeStalePidFile(pgData: string): Promise<void> {
  const pid = Number.parseInt(await readPidFile(pgData), 10);
  if (pid > 0 && !(await isServerOn(pgData, pid))) await rm(pidFile(pgData), { force: true });
}

/** Whether the process exists and is the main process of a server on these files; a zombie is not. */
export async function isServerOn(pgData: string, pid: number): Promise<boolean> {
  if (!(pid > 0)) return false;
  try {
    if (process.platform === 'win32') return process.kill(pid, 0); // no cheap way to learn more
    return (await commandLine(pid)).includes(`-D ${pgData}`);
  } catch {
    return false;
  }
}

/** Throws when there is no such process. */
async function commandLine(pid: number): Promise<string> {
  if (process.platform === 'linux') {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
  }
  return (await execute('ps', ['-ww', '-o', 'command=', '-p', String(pid)])).stdout;
}

/** Empty when there is none, or half a file when Postgres is just writing it. */
async function readPidFile(pgData: string): Promise<string> {
  return readFile(pidFile(pgData), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
}

function pidFile(pgData: string): string {
  return join(pgData, 'postmaster.pid');
}
