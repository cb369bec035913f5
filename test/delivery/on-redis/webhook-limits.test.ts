import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../webhook-limits.test.js'));
