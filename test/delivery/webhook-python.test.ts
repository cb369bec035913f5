import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startApp, type TestApp } from '../support/app.js';
import { eventually } from '../support/receiver.js';
import { onWebhook, registerWebhook, sendMessages } from '../support/webhooks.js';

const script = fileURLToPath(new URL('../support/verify-webhook.py', import.meta.url));
const hasPython = spawnSync('python3', ['--version']).status === 0;
if (!hasPython) console.warn('SKIPPED: there is no python3, so nothing but Node has verified the signatures');

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

/** What the receiver in Python made of each request. */
async function startPython(secret: string) {
  const child: ChildProcess = spawn('python3', [script, secret], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout! });
  const results: Record<string, unknown>[] = [];
  const [port] = await once(lines, 'line');
  lines.on('line', (line) => results.push(JSON.parse(line)));
  return { url: `http://127.0.0.1:${port}/`, results };
}

const genuine = { header: true, headerOfOtherBody: false, member: true, memberOfOtherBody: false };

describe.skipIf(!hasPython)('a receiver in Python', () => {
  it.each(['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwDXV0b2Nhbg==', 'words, ümlauts and 24 €'])(
    'verifies headers and member of what is signed with %s, and after a rotation the headers still',
    async (secret) => {
      const client = await app.tenant();
      const python = await startPython(secret);
      const { id } = await registerWebhook(client, python.url, { secret });
      await sendMessages(client);
      await eventually(() => python.results.length === 1);
      expect(python.results[0]).toEqual({ ...genuine, name: 'message.created' });

      await onWebhook(client, 'rotateWebhookSecret', { id });
      await sendMessages(client);
      await eventually(() => python.results.length === 2);
      expect(python.results[1]).toMatchObject({ header: true, headerOfOtherBody: false, member: false });
    },
  );

  it('verifies a signal', async () => {
    const client = await app.tenant();
    const secret = 'a secret of the workflow';
    const python = await startPython(secret);
    await client.data(
      'mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { secret } }',
      { input: { workflowId: '*', kind: 'HTTP', url: python.url, secret } },
    );
    await client.rest('POST', '/inbound', {
      workflowId: 'workflow_1',
      participantId: 'participant_1',
      channel: 'chat',
      channelKey: 'key',
      content: { body: 'Hello' },
    });
    await eventually(() => python.results.length === 1);
    expect(python.results[0]).toMatchObject({
      header: true,
      headerOfOtherBody: false,
      name: 'InboundConversationMessage',
    });
  });
});
