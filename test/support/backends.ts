import { afterAll, beforeAll, describe } from 'vitest';
import { queuesOn } from './app.js';
import { hasRedis, openRedis, type TestRedis } from './redis.js';

/**
 * Declares the suites of another test file once more, with the queues on Redis: Postgres is what they run on by
 * themselves. Without a redis-server they are skipped, and the run says so.
 */
export function alsoOnRedis(declareSuites: () => Promise<unknown>): void {
  if (!hasRedis) {
    process.stderr.write(
      '\n*** SKIPPED: delivery with the queues on Redis. There is no redis-server on the PATH.\n' +
        '*** On Debian: apt-get install redis-server (it need not run).\n\n',
    );
  }
  describe.skipIf(!hasRedis)('with the queues on Redis', async () => {
    let redis: TestRedis | null = null;
    beforeAll(async () => {
      redis = await openRedis();
      queuesOn(redis.url);
    });
    afterAll(async () => {
      queuesOn(null);
      await redis?.kill();
    });
    await declareSuites();
  });
}
