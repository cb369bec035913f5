import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CriticalityLevel, DiffRule, diff } from '@graphql-inspector/core';
import { buildSchema } from 'graphql';
import { describe, expect, it } from 'vitest';
import { createSchema } from '../../src/resolvers/schema.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const readSchema = (file: string) => buildSchema(readFileSync(`${root}/${file}`, 'utf8'));

const ADVICE = `
These changes break callers of the released schema (test/fixtures/released.graphql). Keep what is there and add
the new beside it; mark the old with @deprecated, release that, and remove it in a later release. If it must break
at once: it is for a release that may (a new minor version before 1.0.0), with "npm run schema:release" and a line
in CHANGELOG.md that says what callers do.`;

describe('the released GraphQL schema', () => {
  it('is not broken: what callers have written against it still holds', async () => {
    const changes = await diff(readSchema('test/fixtures/released.graphql'), createSchema(), [
      DiffRule.suppressRemovalOfDeprecatedField,
    ]);
    const breaking = changes
      .filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking)
      .map(({ path, message }) => `${path}: ${message}`);
    expect(breaking, ADVICE).toEqual([]);
  });
});

describe('schema.graphql', () => {
  it('is the whole schema, with its descriptions', async () => {
    const changes = await diff(readSchema('schema.graphql'), createSchema());
    const differences = changes.map(({ path, message }) => `${path}: ${message}`);
    expect(differences, 'It is out of date: npm run generate').toEqual([]);
  });

  it('is found in the package by tools', () => {
    expect(fileURLToPath(import.meta.resolve('parley/schema.graphql'))).toBe(`${root}schema.graphql`);
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    const pack = spawnSync(npm, ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(pack.stdout).toContain('"path": "schema.graphql"');
  });
});
