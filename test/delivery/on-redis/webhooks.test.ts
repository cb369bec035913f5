import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../webhooks.test.js'));
