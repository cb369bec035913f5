import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startApp, type TestApp } from '../support/app.js';

const run = promisify(execFile);
const root = new URL('../../', import.meta.url).pathname;
const tool = (path: string) => `${root}node_modules/${path}`;

let app: TestApp;
let directory: string;
beforeAll(async () => {
  app = await startApp();
  await mkdir(`${root}test/.generated`, { recursive: true });
  directory = await mkdtemp(`${root}test/.generated/client-`);
});
afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
  await app.close();
});

it('a client that openapi-typescript generates from /openapi.json compiles and drives the whole flow', async () => {
  await cp(`${root}test/fixtures/generated-client`, directory, { recursive: true });
  await writeFile(`${directory}/openapi.json`, await (await fetch(`${app.url}/openapi.json`)).text());
  const { apiKey } = await app.tenant();
  const step = async (...args: string[]) =>
    (
      await run(process.execPath, args, {
        cwd: directory,
        env: { ...process.env, PARLEY_URL: app.url, PARLEY_API_KEY: apiKey },
      }).catch((error: { stdout: string; stderr: string }) => {
        throw new Error(`${args.join(' ')}\n${error.stdout}\n${error.stderr}`);
      })
    ).stdout;

  const generator = [`${root}test/support/typescript-api.js`, tool('openapi-typescript/bin/cli.js')] as const;
  await step('--import', generator[0], generator[1], 'openapi.json', '-o', 'api.ts');
  await step(tool('typescript/bin/tsc'), '-p', '.');
  expect(await step('built/flow.js')).toBe('done\n');
});
