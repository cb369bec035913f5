import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from './config.js';
import { keepInDataDir } from './data-dir.js';
import { openDatabase } from './database/client.js';
import { startEmbeddedPostgres } from './database/embedded-postgres.js';
import { migrate } from './database/migrate.js';
import { createHttpClient } from './delivery/http-client.js';
import { createTargetGuard, type TargetGuard } from './delivery/target-guard.js';
import { openHints } from './events/hints.js';
import { startLiveFeed } from './events/live-feed.js';
import { startTrimmer } from './events/retention.js';
import { startHttpServer } from './http/server.js';
import { startWorkerServer } from './http/worker-server.js';
import { openDoorbell } from './jobs/doorbell.js';
import { startJobs } from './jobs/jobs.js';
import { openQueueBackend } from './jobs/queue-backend.js';
import type { Log } from './log.js';
import { openRedis } from './redis.js';
import { createSecretBox } from './secret-box.js';
import { bootstrap, generateApiKey } from './services/api-keys.js';
import { createAttachmentLinks } from './services/attachment-links.js';
import { createAuthentication } from './services/authentication.js';
import type { Context } from './services/context.js';
import { createIngestion } from './services/ingestion/ingestion.js';
import { startKeyWatch } from './services/key-watch.js';
import { createMetrics } from './services/metrics.js';
import { version } from './version.js';

/** A running Parley. */
export interface App {
  /** Where it listens: `http://127.0.0.1:4000`. */
  readonly url: string;
  /** The key that `BOOTSTRAP_API_KEY` or the data directory holds; null when there is none of them. */
  readonly apiKey: string | null;
  readonly services: Context;
  /** Drains and releases everything, in reverse order, within the grace time. Idempotent. */
  close(): Promise<void>;
}

/** Parts that a test may replace. */
export interface Overrides {
  readonly targets?: TargetGuard;
}

const CONNECTIONS = { shared: 4, patient: 16 };
/** Short: a batch that meets a locked tenant goes on without it. */
const SHARED_LOCK_TIMEOUT_MS = 300;
const PATIENT_LOCK_TIMEOUT_MS = 15_000;
/** What is kept of the grace time for shutting the embedded Postgres down. */
const POSTGRES_STOP_MS = 3_000;

/**
 * Composes Parley and starts it. What is acquired is released in reverse order, also when the start fails
 * half-way.
 */
export async function createApp(config: Config, log: Log, overrides: Overrides = {}): Promise<App> {
  const releases: (() => Promise<unknown>)[] = [];
  let closing: Promise<void> | undefined;
  const close = () => (closing ??= releaseAll(releases, log, config));
  const acquire = async <T>(
    resource: T | Promise<T>,
    release: (resource: T) => Promise<unknown>,
  ): Promise<T> => {
    const acquired = await resource;
    releases.push(() => release(acquired));
    return acquired;
  };

  try {
    const connectionString =
      config.databaseUrl ??
      (await acquire(startEmbeddedPostgres({ dataDir: config.dataDir, log }), (postgres) => postgres.stop()))
        .connectionString;
    const { applied } = await migrate(connectionString);
    if (applied.length > 0) log.info({ applied }, 'the database was migrated');

    const open = (maxConnections: number, lockTimeoutMs: number) =>
      acquire(
        openDatabase({
          connectionString,
          maxConnections,
          lockTimeoutMs,
          onError: (error) => log.warn({ err: error }, 'a database connection broke'),
        }),
        (database) => database.$disconnect(),
      );
    const shared = await open(CONNECTIONS.shared, SHARED_LOCK_TIMEOUT_MS);
    const database = await open(CONNECTIONS.patient, PATIENT_LOCK_TIMEOUT_MS);

    const apiKey =
      config.bootstrapApiKey ??
      (config.role === 'all' ? await keepInDataDir(config.dataDir, 'api-key', generateApiKey) : null);
    if (apiKey !== null && (await bootstrap(database, config.bootstrapTenantId, apiKey)).isRevoked)
      log.warn('the bootstrap API key was revoked; start with another BOOTSTRAP_API_KEY to get in again');
    const secretsKey =
      config.secretsKey ??
      Buffer.from(await keepInDataDir(config.dataDir, 'secrets-key', newSecretsKey), 'base64');
    const secrets = createSecretBox(secretsKey);

    const targets =
      overrides.targets ??
      createTargetGuard({
        allowedCidrs: [...config.allowedTargetCidrs],
        requireHttps: config.requireHttpsTargets,
      });
    const redis = config.redisUrl
      ? await acquire(openRedis(config.redisUrl, log), (connection) => connection.close())
      : null;
    const queueBackend = await acquire(
      openQueueBackend({ connectionString, redisUrl: config.redisUrl, log }),
      (backend) => backend.close(),
    );
    const doorbell = openDoorbell(queueBackend, log);
    const hints = await acquire(openHints(connectionString, log), (held) => held.close());
    const liveFeed = await acquire(startLiveFeed(database, hints, log), (feed) => feed.close());
    const ingestion = await acquire(createIngestion(shared, database, hints, liveFeed), (held) =>
      held.drained(),
    );
    // With PORT=0 the address is known only when it is listened on.
    let publicUrl = config.publicUrl ?? localUrl(config);
    const attachmentLinks = createAttachmentLinks(secretsKey, () => publicUrl);
    const metrics = createMetrics(database, log);
    const services: Context = {
      config,
      log,
      database,
      ingestion,
      hints,
      ringLanes: doorbell.ringSoon,
      liveFeed,
      secrets,
      targets,
      attachmentLinks,
      metrics,
    };

    if (config.role !== 'api') {
      await acquire(startTrimmer(database, log, config.eventRetentionMs), (trimmer) => trimmer.stop());
      const http = await acquire(
        createHttpClient({
          guard: targets,
          deadlineMs: config.deliveryDeadlineMs,
          userAgent: `Parley/${version}`,
          connectionsPerOrigin: 256,
        }),
        (client) => client.close(),
      );
      await acquire(startJobs({ ...services, shared, queueBackend, doorbell, http }), (jobs) =>
        jobs.stop(config.shutdownGraceMs / 2),
      );
    }

    const health = {
      async checkReady() {
        if (closing) throw new Error('draining');
        await database.$queryRaw`SELECT 1`;
      },
    };
    const server = await acquire(
      config.role === 'worker'
        ? startWorkerServer(services, health)
        : startHttpServer(
            services,
            createAuthentication(database, config),
            await acquire(startKeyWatch(database, log), (watch) => watch.stop()),
            health,
            redis?.redis ?? null,
          ),
      (held) => held.close(),
    );
    publicUrl = config.publicUrl ?? localUrl(server.address);
    return { url: localUrl(server.address), apiKey, services, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Where this machine reaches an address that is listened on; `0.0.0.0` and `::` are no places to call. */
function localUrl({ host, port }: { host: string; port: number }): string {
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

const newSecretsKey = () => randomBytes(32).toString('base64');

/**
 * Releases in reverse order, each fully before the next, until the time is up. From then on nothing is waited
 * for but the embedded Postgres, which was acquired first and must not outlive us.
 */
async function releaseAll(
  releases: readonly (() => Promise<unknown>)[],
  log: Log,
  { shutdownGraceMs: graceMs, databaseUrl }: Config,
): Promise<void> {
  const timeIsUp = sleep(Math.max(graceMs - POSTGRES_STOP_MS, graceMs / 2), 'late', { ref: false });
  for (const [index, release] of [...releases.entries()].reverse()) {
    const released = release().catch((error: unknown) =>
      log.error({ err: error }, 'something could not be released'),
    );
    const outcome = await (index === 0 && databaseUrl === null
      ? released
      : Promise.race([released, timeIsUp]));
    if (outcome === 'late') log.warn('the grace time is running out; going on without waiting');
  }
}
