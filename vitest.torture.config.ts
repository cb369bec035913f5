import { defineConfig } from 'vitest/config';
import ordinary from './vitest.config.js';

const { include: _, exclude: __, ...test } = ordinary.test ?? {};

/** The long tests, one file after the other: each loads the machine by itself. */
export default defineConfig({
  ...ordinary,
  test: {
    ...test,
    include: ['test/torture/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 120_000,
  },
});
