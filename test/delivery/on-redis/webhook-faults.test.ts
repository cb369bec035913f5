import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../webhook-faults.test.js'));
