import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { REST, startAppForTest } from '../support/app.js';
import { eventually } from '../support/receiver.js';

/** Opens a connection; what comes on it grows in `received()`. */
async function open(url: string) {
  const socket: Socket = connect(Number(new URL(url).port), '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString();
  });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return { socket, received: () => text };
}

/** Sends a part every so often, until there are no more or the connection ends. */
async function drip(socket: Socket, parts: Iterable<string | Buffer>, everyMs: number): Promise<void> {
  for (const part of parts) {
    if (socket.destroyed) return;
    socket.write(part);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

it('cuts headers that trickle in with a 408, and goes on serving everybody else', async () => {
  const app = await startAppForTest();
  const slow = await Promise.all(Array.from({ length: 200 }, () => open(app.url)));
  const endless = function* () {
    yield 'GET /healthz HTTP/1.1\r\nHost: parley\r\n';
    for (let count = 0; count < 200; count++) yield `X-${count}: y\r\n`;
  };
  const dripping = slow.map(({ socket }) => drip(socket, endless(), 500));
  await eventually(
    async () => {
      expect((await app.operator.rest('GET', '/threads')).status).toBe(200);
      return slow.every(({ socket }) => socket.destroyed || socket.readableEnded);
    },
    { timeoutMs: 40_000, describe: () => 'all slow connections to be cut' },
  );
  await Promise.all(dripping);
  for (const { received } of slow) {
    expect(received()).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
    expect(received()).toContain('"field":"request","issue":"took too long to arrive"');
  }
});

it('takes a message of 10 MB that needs a minute and a half to arrive', async () => {
  const app = await startAppForTest();
  const content = { body: 'x'.repeat(10_400_000) };
  const body = JSON.stringify({
    workflowId: 'w',
    participantId: 'p',
    channel: 'x',
    channelKey: 'k',
    content,
  });
  const { socket, received } = await open(app.url);
  socket.write(
    [
      `POST ${REST}/inbound HTTP/1.1`,
      'Host: parley',
      `X-Api-Key: ${app.apiKey}`,
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
      '',
      '',
    ].join('\r\n'),
  );
  const parts = function* () {
    for (let start = 0; start < body.length; start += 120_000) yield body.slice(start, start + 120_000);
  };
  await drip(socket, parts(), 1_000);
  await eventually(() => received().includes('\r\n\r\n'));
  expect(received()).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
});
