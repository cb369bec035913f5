import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../claims.test.js'));
