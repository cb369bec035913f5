import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Binaries, prepareBinaries } from './binaries.js';
import { canReach, chooseServerUser, isRoot, makeReachable, runAs, type ServerUser } from './server-user.js';

const execute = promisify(execFile);

/** Where root keeps what Postgres, running under another account, could not reach in the data directory. */
const SHARED_DIR = '/var/lib/parley';

export const SUPERUSER = 'parley';

/** Postgres on disk: `data/`, `postgres.log` and `password` in one directory. */
export interface Cluster {
  /** Parley's data directory, the one that the user knows. */
  readonly home: string;
  /** Postgres's data directory. */
  readonly pgData: string;
  readonly logFile: string;
  readonly password: string;
  readonly user: ServerUser | undefined;
  readonly binaries: Binaries;
}

/**
 * Opens the cluster of a data directory, made by `initdb` if there is none yet. It lies in `<dataDir>/postgres`;
 * or, when the server's user cannot enter `dataDir`, elsewhere, and `<dataDir>/postgres` is a link to it.
 */
export async function openCluster(dataDir: string): Promise<Cluster> {
  await mkdir(dataDir, { recursive: true });
  const home = await realpath(dataDir);
  const link = join(home, 'postgres');

  const existing = await find(link);
  const user = await chooseServerUser(existing);
  const binaries = await prepareBinaries(user, isRoot ? SHARED_DIR : join(home, 'postgres-binaries'));
  if (existing && user) await handOver(existing, user);
  const directory = existing ?? (await create(home, link, user, binaries));

  const passwordFile = join(directory, 'password');
  return {
    home,
    pgData: join(directory, 'data'),
    logFile: join(directory, 'postgres.log'),
    password: await readFile(passwordFile, 'utf8'),
    user,
    binaries,
  };
}

async function find(link: string): Promise<string | undefined> {
  const present = await lstat(link).catch(() => undefined);
  if (!present) return undefined;
  if (!existsSync(link))
    throw new Error(`${link} points to a directory that is gone; remove it to start anew.`);
  return realpath(link);
}

/** Data that root copied back from a backup belongs to root, and Postgres takes only its own. */
async function handOver(directory: string, user: ServerUser): Promise<void> {
  if ((await stat(directory)).uid === 0)
    await execute('chown', ['-hR', `${user.uid}:${user.gid}`, directory]);
  if (!(await canReach(user, directory))) {
    throw new Error(`${directory} belongs to user id ${user.uid}, who cannot enter a directory above it.`);
  }
}

/**
 * Two processes may be here at once, and either may be killed: so the cluster is made under a name of its own
 * and takes its place in one step. The second to finish discards its own and uses the first.
 */
async function create(
  home: string,
  link: string,
  user: ServerUser | undefined,
  binaries: Binaries,
): Promise<string> {
  const inPlace = await canReach(user, home);
  const directory = inPlace ? await mkdtemp(`${link}-`) : await makeSharedDirectory(home);
  try {
    await initialise(directory, user, binaries);
    await (inPlace ? rename(directory, link) : symlink(directory, link));
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    const lostTheRace = existsSync(link);
    if (!lostTheRace) throw error;
  }
  return realpath(link);
}

/** Named after its owner for the eye only; a new checkout at an old path must not find the old data. */
async function makeSharedDirectory(home: string): Promise<string> {
  const parent = join(SHARED_DIR, 'data');
  await makeReachable(SHARED_DIR);
  await makeReachable(parent);
  const name = home.replace(/[^A-Za-z0-9]+/g, '_').slice(-80);
  return mkdtemp(join(parent, `${name}-`));
}

async function initialise(
  directory: string,
  user: ServerUser | undefined,
  binaries: Binaries,
): Promise<void> {
  const passwordFile = join(directory, 'password');
  await writeFile(passwordFile, randomBytes(24).toString('base64url'), { mode: 0o600 });
  if (user) {
    await chown(directory, user.uid, user.gid);
    await chown(passwordFile, user.uid, user.gid);
  }
  const args = [
    `--pgdata=${join(directory, 'data')}`,
    `--username=${SUPERUSER}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    // A new segment is filled with zeros and synced while a commit waits: for two megabytes that is not noticed.
    '--wal-segsize=2',
  ];
  await runAs(user, binaries.initdb, args, directory);
}
