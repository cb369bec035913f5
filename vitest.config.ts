import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // graphql is there twice, as ES modules and as CommonJS; Node takes the latter, and so must the tests.
  resolve: { alias: [{ find: /^graphql$/, replacement: fileURLToPath(import.meta.resolve('graphql')) }] },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/torture/**'],
    globalSetup: 'test/support/global-setup.ts',
    pool: 'forks',
    // Much of what tests do is waiting, so two go on beside each other on the smallest machine too.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
