import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../lane.test.js'));
