import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { install, type Parley, type Program } from '../support/process.js';
import { query } from '../support/query.js';
import { eventually, startReceiver } from '../support/receiver.js';

const execute = promisify(execFile);

const hello = (body: string) => ({
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'chat',
  channelKey: 'participant_1',
  content: { body },
});

const store = async ({ operator }: Parley, body: string) => {
  const answer = await operator.rest('POST', '/inbound', hello(body));
  expect(answer.status).toBe(200);
  return answer.body;
};

const bodiesOf = async ({ operator }: Parley, threadId: string) => {
  const { body } = await operator.rest('GET', `/threads/${threadId}`);
  return body.messages.map(({ content }: { content: { body: string } }) => content.body);
};

/** The exit code of a program that gives up by itself, in time. */
async function exitCode(program: Program): Promise<number | null> {
  let hasExited = false;
  void program.exited.then(() => (hasExited = true));
  await eventually(() => hasExited, { timeoutMs: 20_000, describe: () => `an exit:\n${program.stderr()}` });
  return program.exited;
}

describe('npm start', () => {
  it('prints the addresses, the key and a curl line that works, and keeps its secrets to its user', async () => {
    const installation = await install();
    const parley = await installation.start();
    expect(parley.stdout()).toContain(`REST         ${parley.url}/api/agent/conversations\n`);
    expect(parley.stdout()).toContain(`GraphQL      ${parley.url}/graphql `);
    expect(parley.stdout()).toContain('embedded Postgres in');
    expect(parley.apiKey).toMatch(/^parley_[\w-]{43}$/);

    const { stdout } = await execute('bash', ['-c', parley.curl]);
    expect(JSON.parse(stdout)).toEqual({
      threadId: expect.stringMatching(/^thread_/),
      messageId: expect.stringMatching(/^message_/),
      position: 1,
      createdAt: expect.any(String),
    });
    expect(await parley.operator.data('{ eventCursor }')).toBeTruthy();

    for (const file of ['api-key', 'secrets-key', 'postgres/password']) {
      expect((await stat(join(installation.dataDir, file))).mode & 0o777).toBe(0o600);
    }
    expect(parley.stderr()).not.toContain(parley.apiKey);
  });

  it('finds the data, the key and the secrets of the first start again, also after a kill -9', async () => {
    const installation = await install();
    const receiver = await startReceiver();
    const first = await installation.start();
    const { threadId } = await store(first, 'one');
    const { body: webhook } = await first.operator.rest('POST', '/outbound/webhook', {
      url: receiver.url,
      events: ['message.created'],
    });
    expect(await first.terminate()).toBe(0);

    const second = await installation.start();
    expect(second.apiKey).toBe(first.apiKey);
    expect(await store(second, 'two')).toMatchObject({ threadId, position: 2 });
    await second.kill();

    const third = await installation.start();
    expect(third.apiKey).toBe(first.apiKey);
    expect(await store(third, 'three')).toMatchObject({ threadId, position: 3 });
    process.kill(await installation.postmasterPid(), 'SIGKILL');
    await third.kill();

    const fourth = await installation.start();
    expect(await bodiesOf(fourth, threadId)).toEqual(['one', 'two', 'three']);
    const { body: sent } = await fourth.operator.rest('POST', '/outbound', {
      threadId,
      content: { body: 'four' },
    });
    const [delivered] = await receiver.waitFor(1);
    expect(delivered?.body).toMatchObject({ messageId: sent.messageId });
    expect(webhook.id).toMatch(/^webhook_/);
  });

  it('runs twice on one machine, each with its own data', async () => {
    const [one, other] = await Promise.all([install(), install()]);
    const [first, second] = await Promise.all([one.start(), other.start()]);
    expect(first.url).not.toBe(second.url);
    expect(first.apiKey).not.toBe(second.apiKey);
    const { threadId } = await store(first, 'for the first');
    expect((await second.operator.rest('GET', `/threads/${threadId}`)).status).toBe(404);
    expect((await first.operator.rest('GET', '/threads', undefined)).body.threads).toHaveLength(1);
    expect((await second.operator.rest('GET', '/threads', undefined)).body.threads).toEqual([]);
    expect(await Promise.all([first.terminate(), second.terminate()])).toEqual([0, 0]);
  });
});

describe('the end', () => {
  it('by SIGTERM or Ctrl-C leaves no process behind and loses nothing', async () => {
    const installation = await install();
    let threadId = '';
    for (const [index, signal] of (['SIGTERM', 'SIGINT'] as const).entries()) {
      const parley = await installation.start();
      ({ threadId } = await store(parley, signal));
      expect(await bodiesOf(parley, threadId)).toEqual(['SIGTERM', 'SIGINT'].slice(0, index + 1));
      expect((await installation.processes()).length).toBeGreaterThan(1);
      expect(await parley.end(signal)).toBe(0);
      expect(await installation.processes()).toEqual([]);
    }
  });

  it('comes as asked when the signal arrives during the start', async () => {
    const installation = await install();
    const program = installation.spawn();
    await eventually(async () => (await installation.processes()).length > 1);
    await program.end('SIGINT');
    expect(await installation.processes()).toEqual([]);
    await installation.start();
  });

  it('lets what is under way finish: every message that was stored was also answered', async () => {
    const installation = await install();
    const parley = await installation.start();
    const answered: string[] = [];
    const post = async (connection: number) => {
      for (let count = 1; count <= 1_000; count++) {
        const text = `${connection}/${count}`;
        const status = await parley.operator.rest('POST', '/inbound', hello(text)).then(
          (answer) => answer.status,
          () => 'refused' as const,
        );
        if (status !== 200) return status;
        answered.push(text);
      }
      return 'never refused';
    };
    const connections = Promise.all(Array.from({ length: 16 }, (_, index) => post(index)));
    await eventually(() => answered.length > 100);
    expect(await parley.terminate()).toBe(0);
    for (const outcome of await connections) expect(outcome).toBeOneOf([503, 'refused']);

    await installation.start();
    const stored = await query<{ body: string }>(
      await installation.databaseUrl(),
      `SELECT content ->> 'body' AS body FROM conversation_message`,
    );
    expect(stored.map(({ body }) => body).sort()).toEqual(answered.sort());
  });
});

describe('a start that cannot be', () => {
  it('is refused while another Parley uses the data directory, and does not disturb that one', async () => {
    const installation = await install();
    const first = await installation.start();
    const { threadId } = await store(first, 'one');
    const before = await installation.processes();

    const second = installation.spawn();
    expect(await exitCode(second)).toBe(1);
    expect(second.stderr()).toContain(
      `Parley could not start. Another Parley is running with this data directory (${installation.dataDir}).`,
    );
    expect(second.stdout()).toBe('');
    expect(await installation.postmasterPid()).toBeOneOf(before);
    await store(first, 'two');
    expect(await bodiesOf(first, threadId)).toEqual(['one', 'two']);
  });

  it('names every fault of the configuration at once', async () => {
    const installation = await install();
    const program = installation.spawn({
      PORT: '70000',
      LOG_LEVEL: 'loud',
      SECRETS_KEY: 'short',
      ALLOWED_TARGET_CIDRS: '10/8',
      WEBHOOK_RETRY_SCHEDULE_SECONDS: '0,soon',
    });
    expect(await exitCode(program)).toBe(1);
    const faults = [
      'PORT',
      'LOG_LEVEL',
      'SECRETS_KEY',
      'ALLOWED_TARGET_CIDRS',
      'WEBHOOK_RETRY_SCHEDULE_SECONDS',
    ];
    for (const fault of faults) expect(program.stderr()).toContain(`  ${fault}: `);
    expect(program.stderr()).not.toMatch(/^\s+at /m);
    expect(await installation.processes()).toEqual([]);
  });

  it('says that the port is taken, and leaves nothing running', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void taken.close());
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;

    const installation = await install();
    const program = installation.spawn({ PORT: String(port) });
    expect(await exitCode(program)).toBe(1);
    expect(program.stderr()).toContain(
      `Parley could not start. 127.0.0.1:${port} is in use by another program; set PORT to a free one.`,
    );
    expect(program.stdout()).toBe('');
    expect(await installation.processes()).toEqual([]);
  });
});
