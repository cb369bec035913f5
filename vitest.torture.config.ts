import { defineConfig } from 'vitest/config';
import ordinary, { common } from './vitest.config.js';

const { projects: _, ...test } = ordinary.test ?? {};

/** The long tests, one file after the other: each loads the machine by itself. */
export default defineConfig({
  ...ordinary,
  test: {
    ...test,
    ...common,
    include: ['test/torture/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 120_000,
  },
});
