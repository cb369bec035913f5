import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, realpath, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface TemporaryParley {
  readonly url: string;
  readonly apiKey: string;
  /** Stops it as an operator would, waits until it is gone, and removes its data. */
  stop(): Promise<void>;
}

/** `npm start` as a child process, on a free port, with an empty database that goes away with it. */
export async function startTemporaryParley(interrupted: AbortSignal): Promise<TemporaryParley> {
  const dataDir = await mkdtemp(join(tmpdir(), 'parley-demo-'));
  await chmod(dataDir, 0o755); // root's Postgres runs under another account, which must get in
  const apiKey = `parley_${randomBytes(32).toString('base64url')}`;
  const port = await findFreePort();

  const parley = spawn(process.execPath, [fileURLToPath(new URL('../dist/main.js', import.meta.url))], {
    // Nothing else of our environment: a DATABASE_URL in it would be somebody's real one.
    env: {
      PATH: process.env.PATH,
      SystemRoot: process.env.SystemRoot,
      DATA_DIR: dataDir,
      PORT: String(port),
      BOOTSTRAP_API_KEY: apiKey,
      LOG_LEVEL: 'error',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
    detached: true, // so that Ctrl-C reaches us alone, and we stop it
  });
  const exited = once(parley, 'exit');
  const stop = async () => {
    parley.kill('SIGTERM');
    await exited;
    await removeData(dataDir);
  };

  const url = `http://127.0.0.1:${port}`;
  try {
    while (!(await isReady(url))) {
      if (parley.exitCode !== null || parley.signalCode !== null)
        throw new Error('Parley did not start; above it says why');
      await sleep(50);
      interrupted.throwIfAborted();
    }
    return { url, apiKey, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const isReady = (url: string): Promise<boolean> =>
  fetch(`${url}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  );

/** Where Postgres's account could not get in after all, `postgres` is a link to where its files are. */
async function removeData(dataDir: string): Promise<void> {
  const postgres = await realpath(join(dataDir, 'postgres')).catch(() => dataDir);
  await rm(postgres, { recursive: true, force: true });
  await rm(dataDir, { recursive: true, force: true });
}

async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  await once(probe.close(), 'close');
  return port;
}
