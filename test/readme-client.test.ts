import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { startAppForTest } from './support/app.js';
import { eventually } from './support/receiver.js';
import { startWire } from './support/wire.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs the subscriber that stands in the README, as a program of its own. */
async function runReadmeClient(url: string, apiKey: string) {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const [, program = ''] = /^```js\n(import .*? from 'graphql-ws';\n.*?)^```$/ms.exec(readme) ?? [];
  const directory = await mkdtemp(join(tmpdir(), 'readme-client-'));
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
  const file = join(directory, 'client.mjs');
  await writeFile(file, program.replace('ws://127.0.0.1:4000', url.replace('http', 'ws')));
  const child = spawn(process.execPath, [file], { env: { ...process.env, PARLEY_API_KEY: apiKey } });
  const exited = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exited;
    await rm(directory, { recursive: true });
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  return { lines: () => output.split('\n').slice(0, -1), exited };
}

it('the client in the README goes on by itself behind the last event, and ends when its key is refused', async () => {
  const app = await startAppForTest();
  const client = await app.tenant();
  const wire = await startWire(app.url);
  const { lines, exited } = await runReadmeClient(wire.url, client.apiKey);
  const MESSAGES = 40;
  for (let n = 1; n <= MESSAGES; n++) {
    const message = { workflowId: 'w', participantId: 'p', channel: 'chat', channelKey: 'k' };
    await client.rest('POST', '/inbound', { ...message, content: { body: `message ${n}` } });
    if (n % 10 === 0) {
      await eventually(() => lines().length > 0);
      wire.cut();
    }
  }
  await eventually(() => lines().length >= MESSAGES);
  expect(lines()).toEqual(
    Array.from({ length: MESSAGES }, (_, index) => `${index + 2} INBOUND message ${index + 1}`),
  );

  const { apiKeys } = await client.data('{ apiKeys { edges { node { id } } } }');
  await client.data('mutation ($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { id } } }', {
    id: apiKeys.edges[0].node.id,
  });
  expect(await exited).not.toEqual([0, null]);
});
