import { it } from 'vitest';
import { liveChurn } from '../support/live-churn.js';
import { hasRedis } from '../support/redis.js';

/** A tenth of what test/torture/live-churn.test.ts does. */
const TENTH = {
  subscribers: 20,
  messages: 2_000,
  durationMs: 6_000,
  cutEveryMs: 500,
  killEveryMs: 2_000,
  drainTimeoutMs: 60_000,
} as const;

const redis = hasRedis ? 'restarted' : 'absent';

it(`subscribers of two apis, with Redis ${redis}, get every event once and in order while sockets are cut and apis end`, async () => {
  console.info(JSON.stringify({ redis, ...(await liveChurn({ ...TENTH, redis })) }));
}, 180_000);
