import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../signal-fairness.test.js'));
