import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import packageJson from '../../package.json' with { type: 'json' };
import { startEmbeddedPostgres } from '../../src/database/embedded-postgres.js';
import { migrate } from '../../src/database/migrate.js';
import { createLog } from '../../src/log.js';
import { type Child, startChild } from './child.js';
import type { Options } from './options.js';
import { startRedis } from './redis.js';

const PROGRAM = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
/** What `npm start` tells Node; the references get the same. */
const NODE_ARGS = packageJson.scripts.start.split(' ').filter((word) => word.startsWith('--'));
const REFERENCES = fileURLToPath(new URL('../reference/', import.meta.url));

/** A Parley as it is built, with its operator's key. */
export interface Parley extends Child {
  readonly apiKey: string;
}

/** Where the cases play: one Postgres as Parley embeds it, with fsync on, and programs that come and go. */
export interface Stage {
  /** A new database with Parley's tables, for either side. Answers with its connection string. */
  database(name: string): Promise<string>;
  /** The same with everything that is in another one, which nobody may use meanwhile. */
  copy(databaseUrl: string, name: string): Promise<string>;
  /** Starts the built Parley with its normal configuration, and `ROLE=api` unless the environment says otherwise. */
  parley(
    databaseUrl: string,
    environment?: Readonly<Record<string, string>>,
    nodeArgs?: readonly string[],
  ): Promise<Parley>;
  /** Starts `bench/reference/<name>.ts`. */
  reference(name: string, environment: Readonly<Record<string, string>>): Promise<Child>;
  /** Starts an empty Redis. Answers with its URL. */
  redis(): Promise<string>;
  /** Has something released when the scene is over, in reverse order. */
  onEnd(release: () => Promise<unknown>): void;
  /** A part of the play: what is started in it is stopped at its end. */
  scene<T>(play: (stage: Stage) => Promise<T>): Promise<T>;
}

/** What is released in reverse order; once, whoever asks first. */
class Releases {
  readonly #releases: (() => Promise<unknown>)[] = [];

  readonly add = (release: () => Promise<unknown>): void => {
    this.#releases.push(release);
  };

  async run(): Promise<void> {
    for (let release = this.#releases.pop(); release; release = this.#releases.pop()) await release();
  }
}

/** Opens a stage for as long as it is used, or until the run is interrupted. */
export async function onStage<T>(
  { profiles }: Pick<Options, 'profiles'>,
  use: (stage: Stage) => Promise<T>,
): Promise<T> {
  const releases = new Releases();
  const interrupted = Promise.race(
    ['SIGINT', 'SIGTERM'].map(async (signal) => {
      await once(process, signal);
      throw new Error('Interrupted');
    }),
  );
  const play = async () => {
    const directory = await mkdtemp(join(tmpdir(), 'parley-bench-'));
    releases.add(() => removeData(directory));
    await chmod(directory, 0o755); // root's Postgres runs under another account, which must get in
    const postgres = await startEmbeddedPostgres({ dataDir: directory, log: createLog('warn') });
    releases.add(() => postgres.stop());
    const profiling = profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`];
    return use(stageOf(directory, postgres.connectionString, profiling, releases));
  };
  try {
    return await Promise.race([play(), interrupted]);
  } finally {
    await releases.run();
  }
}

function stageOf(
  directory: string,
  serverUrl: string,
  profiling: readonly string[],
  releases: Releases,
): Stage {
  const secretsKey = randomBytes(32).toString('base64');
  const start = async (
    args: readonly string[],
    environment: Readonly<Record<string, string>>,
    urlPattern: RegExp,
  ) => {
    const logFile = join(directory, `program-${randomBytes(4).toString('hex')}.log`);
    const child = await startChild({ args, environment, logFile, urlPattern });
    releases.add(child.stop);
    return child;
  };
  const create = async (name: string, template: string) => {
    await withClient(serverUrl, (client) => client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`));
    const url = new URL(serverUrl);
    url.pathname = `/${name}`;
    return url.href;
  };
  return {
    async database(name) {
      const url = await create(name, 'template1');
      await migrate(url);
      return url;
    },
    copy: (databaseUrl, name) => create(name, new URL(databaseUrl).pathname.slice(1)),
    async parley(databaseUrl, environment = {}, nodeArgs = []) {
      const apiKey = `parley_${randomBytes(32).toString('base64url')}`;
      const child = await start(
        [...NODE_ARGS, ...profiling, ...nodeArgs, PROGRAM],
        {
          DATABASE_URL: databaseUrl,
          DATA_DIR: directory,
          PORT: '0',
          ROLE: 'api',
          BOOTSTRAP_TENANT_ID: 'operator',
          BOOTSTRAP_API_KEY: apiKey,
          SECRETS_KEY: secretsKey,
          ALLOWED_TARGET_CIDRS: '127.0.0.0/8',
          ...environment,
        },
        /Health +(\S+)\/readyz/,
      );
      return { ...child, apiKey };
    },
    reference: (name, environment) =>
      start(
        [...NODE_ARGS, '--import', 'tsx', join(REFERENCES, `${name}.ts`)],
        environment,
        /listening on (\S+)/,
      ),
    async redis() {
      const redis = await startRedis(directory);
      releases.add(redis.stop);
      return redis.url;
    },
    onEnd: releases.add,
    async scene(play) {
      const ofScene = new Releases();
      releases.add(() => ofScene.run());
      try {
        return await play(stageOf(directory, serverUrl, profiling, ofScene));
      } finally {
        await ofScene.run();
      }
    },
  };
}

/** One connection for as long as it is used. */
export async function withClient<T>(databaseUrl: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** A connection until the end of the scene. */
export async function openClient(stage: Stage, databaseUrl: string): Promise<pg.Client> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  stage.onEnd(() => client.end());
  return client;
}

/** Where Postgres's account could not get in after all, `postgres` is a link to where its files are. */
async function removeData(directory: string): Promise<void> {
  const postgres = await realpath(join(directory, 'postgres')).catch(() => directory);
  await rm(postgres, { recursive: true, force: true });
  await rm(directory, { recursive: true, force: true });
}
