import { alsoOnRedis } from '../../support/backends.js';

alsoOnRedis(() => import('../signal-queues.test.js'));
