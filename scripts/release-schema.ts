import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { buildSchema } from 'graphql';

/**
 * Part of a release: makes the present schema the released one, which test/schema/released.test.ts holds later
 * changes to, and prints what changed since the release before.
 */
const releasedFile = 'test/fixtures/released.graphql';

const present = readFileSync('schema.graphql', 'utf8');
const released = existsSync(releasedFile) ? readFileSync(releasedFile, 'utf8') : present;
const changes = await diff(buildSchema(released), buildSchema(present));
writeFileSync(releasedFile, present);

for (const { criticality, message } of changes) process.stdout.write(`${criticality.level}: ${message}\n`);
const breaks = changes.some(({ criticality }) => criticality.level === CriticalityLevel.Breaking);
process.stdout.write(
  `Wrote ${releasedFile}: ${changes.length} changes since the last release.\n${breaks ? 'Some of them break callers: name each in CHANGELOG.md, with what to do.\n' : ''}`,
);
