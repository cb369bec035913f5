import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { answerDoorbell, openDoorbell } from '../../src/jobs/doorbell.js';
import { openQueueBackend } from '../../src/jobs/queue-backend.js';
import { createLog } from '../../src/log.js';
import type { Lane } from '../../src/services/deliveries/dispatch.js';
import { createDatabase } from '../support/postgres.js';
import { eventually } from '../support/receiver.js';
import { hasRedis, startRedis } from '../support/redis.js';

const log = createLog('silent');

async function openBackend(redisUrl: string | null) {
  const { connectionString, drop } = await createDatabase();
  onTestFinished(drop);
  const backend = await openQueueBackend({ connectionString, redisUrl, log });
  onTestFinished(() => backend.close());
  return backend;
}

const lanesOf = (tenantId: string, count: number): Lane[] =>
  Array.from({ length: count }, () => ({ tenantId, laneId: randomUUID() }));

describe.each(hasRedis ? (['Postgres', 'Redis'] as const) : (['Postgres'] as const))(
  'bells on %s',
  (name) => {
    it('are heard for every lane, first for one of each tenant', async () => {
      const backend = await openBackend(name === 'Redis' ? (await startRedis()).url : null);
      const doorbell = openDoorbell(backend, log);
      onTestFinished(() => doorbell.close());
      const flood = lanesOf('flood', 2_000);
      const others = ['a', 'b', 'c'].flatMap((tenantId) => lanesOf(tenantId, 1));
      await doorbell.ring([...flood.slice(950), ...others, ...flood.slice(0, 950)]);

      const heard: Lane[] = [];
      const answerer = await answerDoorbell(backend, log, (lane) => heard.push(lane));
      onTestFinished(() => answerer.close());
      await eventually(() => heard.length >= 2_003, { describe: () => `2,003 lanes, heard ${heard.length}` });
      const idsOf = (lanes: readonly Lane[]) => lanes.map(({ laneId }) => laneId).sort();
      expect(idsOf(heard)).toEqual(idsOf([...flood, ...others]));
      const lastOfOthers = heard.findLastIndex(({ tenantId }) => tenantId !== 'flood');
      expect(lastOfOthers).toBeLessThan(500);
    });

    it('are for several workers', async () => {
      const backend = await openBackend(name === 'Redis' ? (await startRedis()).url : null);
      const doorbell = openDoorbell(backend, log);
      onTestFinished(() => doorbell.close());
      const one: Lane[] = [];
      const other: Lane[] = [];
      for (const heard of [one, other]) {
        const answerer = await answerDoorbell(backend, log, (lane) => heard.push(lane));
        onTestFinished(() => answerer.close());
      }
      for (let ring = 1; ring <= 10; ring++) {
        await doorbell.ring(lanesOf('tenant', 30));
        await eventually(() => one.length + other.length === ring * 30);
      }
      expect(Math.min(one.length, other.length)).toBeGreaterThan(0);
    });
  },
);
