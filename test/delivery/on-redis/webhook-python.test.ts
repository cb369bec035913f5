import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../webhook-python.test.js'));
