import type { TestProject } from 'vitest/node';
import { startTestServer } from './postgres.js';

/** Runs once for the whole test run, outside the workers. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { stop, ...server } = await startTestServer();
  project.provide('postgres', server);
  return stop;
}
