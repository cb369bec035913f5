import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const schemaDir = 'src/schema';

/** The SDL's files, `base.graphql` first: the others extend what it begins. */
export const readSdl = (): string[] =>
  readdirSync(schemaDir)
    .filter((file) => file.endsWith('.graphql'))
    .sort((a, b) => Number(b === 'base.graphql') - Number(a === 'base.graphql') || a.localeCompare(b))
    .map((file) => readFileSync(join(schemaDir, file), 'utf8'));
