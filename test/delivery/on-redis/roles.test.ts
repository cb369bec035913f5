import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../roles.test.js'));
