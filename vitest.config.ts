import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

// graphql is there twice, as ES modules and as CommonJS; Node takes the latter, and so must the tests.
const resolve = {
  alias: [{ find: /^graphql$/, replacement: fileURLToPath(import.meta.resolve('graphql')) }],
};

/** What holds for every test. */
export const common = { pool: 'forks', testTimeout: 30_000, hookTimeout: 60_000 } as const;

/** Tests that change nothing of their process: one loads all modules for those that follow. */
const TOGETHER = ['test/{api,conversations,graphql,schema}/**/*.test.ts'];

export default defineConfig({
  resolve,
  test: {
    globalSetup: 'test/support/global-setup.ts',
    // Much of what tests do is waiting, so two go on beside each other on the smallest machine too.
    maxWorkers: 2,
    projects: [
      { resolve, test: { ...common, name: 'together', include: TOGETHER, isolate: false } },
      {
        resolve,
        test: {
          ...common,
          name: 'apart',
          include: ['test/**/*.test.ts'],
          exclude: ['test/torture/**', ...TOGETHER],
        },
      },
    ],
  },
});
