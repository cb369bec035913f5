import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../webhook-lifecycle.test.js'));
