import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const folder = new URL('.', import.meta.url);
const read = (file: string) => readFileSync(new URL(file, folder), 'utf8');

/** Those that start a Parley, and do not name a backend themselves. */
const deliveryTests = readdirSync(folder)
  .filter((file) => file.endsWith('.test.ts'))
  .filter((file) => /support\/(app|fairness)\.js/.test(read(file)) && !/redis\.js/.test(read(file)));

it('every test of delivery runs on both backends', () => {
  expect(deliveryTests).toContain('signals.test.ts');
  expect(deliveryTests.filter((file) => !existsSync(new URL(`on-redis/${file}`, folder)))).toEqual([]);
});
