import { execFile } from 'node:child_process';
import { chmod, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** The account that Postgres runs under when it cannot be our own. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

export const isRoot = process.getuid?.() === 0;

/**
 * Postgres refuses to run as root. For root this is the owner of the data directory, if there is one already,
 * otherwise an account that every system has or that a Postgres package brought. Undefined: run it as ourselves.
 */
export async function chooseServerUser(existingDirectory?: string): Promise<ServerUser | undefined> {
  if (!isRoot) return undefined;
  if (existingDirectory) {
    const { uid, gid } = await stat(existingDirectory);
    if (uid !== 0) return { uid, gid };
  }
  return (await lookUp('postgres')) ?? (await lookUp('nobody'));
}

async function lookUp(name: string): Promise<ServerUser | undefined> {
  try {
    const [uid, gid] = await Promise.all([execute('id', ['-u', name]), execute('id', ['-g', name])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}

/** Whether the user may enter the directory: it needs the search permission on it and on all above it. */
export async function canReach(user: ServerUser | undefined, directory: string): Promise<boolean> {
  if (!user) return true;
  const { uid, gid, mode } = await stat(directory);
  const shift = uid === user.uid ? 6 : gid === user.gid ? 3 : 0;
  const searchable = ((mode >> shift) & 1) === 1;
  const parent = dirname(directory);
  return searchable && (parent === directory || canReach(user, parent));
}

/** Makes a directory that every user may enter, whatever the umask. */
export async function makeReachable(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await chmod(directory, 0o755);
}

/**
 * Runs a program of Postgres as the server's user and returns its output. The working directory is one that
 * this user can reach, and the environment is not ours: it may hold secrets, and `PG…` variables that mean
 * another server.
 */
export async function runAs(
  user: ServerUser | undefined,
  program: string,
  args: string[],
  cwd = dirname(program),
): Promise<string> {
  const { stdout } = await execute(program, args, { ...user, cwd, env: serverEnvironment() });
  return stdout;
}

/** What a program of Postgres needs of the environment, and no more. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, SystemRoot: process.env.SystemRoot, LC_ALL: 'C' };
}
