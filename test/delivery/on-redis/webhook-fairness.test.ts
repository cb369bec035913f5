import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../webhook-fairness.test.js'));
