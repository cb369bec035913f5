import { Redis } from 'ioredis';
import type { Log } from './log.js';

const CONNECT_TIMEOUT_MS = 2_000;
/** What waits for Redis has another way, so it does not wait long. */
const COMMAND_TIMEOUT_MS = 250;
/** A Redis that has said nothing for so long is taken for away: nothing more is asked of it until it is back. */
const SILENCE_MS = 500;
const MAX_RECONNECT_DELAY_MS = 1_000;

export interface RedisConnection {
  readonly redis: Redis;
  close(): Promise<void>;
}

/**
 * Connects to Redis. It may be away, now or later: commands then fail at once, the log says so once, and the
 * connection comes back by itself.
 */
export async function openRedis(url: string, log: Log): Promise<RedisConnection> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: SILENCE_MS,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt) => Math.min(attempt * 100, MAX_RECONNECT_DELAY_MS),
  });
  let isAway = false;
  const reportAway = (error?: Error) => {
    if (!isAway) log.warn({ err: error }, 'Redis is away');
    isAway = true;
  };
  redis.on('error', reportAway);
  redis.on('close', () => reportAway());
  redis.on('ready', () => {
    if (isAway) log.info('Redis is back');
    isAway = false;
  });
  await redis.connect().catch(reportAway);
  return {
    redis,
    async close() {
      redis.removeAllListeners('close');
      redis.disconnect();
    },
  };
}
