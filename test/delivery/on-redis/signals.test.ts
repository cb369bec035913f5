import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../signals.test.js'));
