import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runPrisma } from './prisma-cli.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const schemaFile = join(root, 'prisma', 'schema.prisma');
const outputDir = join(root, 'src', 'generated', 'prisma');
const fingerprintFile = join(outputDir, '.fingerprint');

/** The generated client depends on these two and on nothing else. */
function fingerprint(): string {
  const { version } = createRequire(import.meta.url)('@prisma/client/package.json') as { version: string };
  return createHash('sha256').update(version).update(readFileSync(schemaFile)).digest('hex');
}

// Every `npm start` passes here, and Prisma needs a second even to find that nothing changed.
const wanted = fingerprint();
const present = existsSync(fingerprintFile) ? readFileSync(fingerprintFile, 'utf8') : '';
if (present !== wanted) {
  runPrisma('generate', schemaFile);
  writeFileSync(fingerprintFile, wanted);
}
