import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { createClient } from '../support/app.js';
import { createDatabase } from '../support/postgres.js';
import { install } from '../support/process.js';
import { eventually, startReceiver } from '../support/receiver.js';
import { receive, registerHandler } from '../support/signals.js';

/** What Postgres says to a connection that it ends: an ErrorResponse (protocol, section 53.7). */
function adminShutdown(): Buffer {
  const fields = Buffer.from(
    'SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0',
  );
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(4 + fields.length, 1);
  return Buffer.concat([head, fields]);
}

/** ReadyForQuery, outside a transaction: the end of what the server says at first. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

/** Stands before Postgres, and can end connections as it does, just as they are told that they are ready. */
async function startProxy(databaseUrl: string) {
  const target = new URL(databaseUrl);
  const listening = new Set<Socket>();
  let isEnding = false;
  let ended = 0;
  const server = createServer((client) => {
    const postgres = connect(Number(target.port), target.hostname);
    let isNew = true;
    client.on('data', (chunk) => {
      if (chunk.includes('LISTEN')) listening.add(client);
      postgres.write(chunk);
    });
    postgres.on('data', (chunk) => {
      const isReady = isNew && chunk.subarray(-READY.length).equals(READY);
      if (isReady) isNew = false;
      if (!isReady || !isEnding) return client.write(chunk);
      ended++;
      client.end(Buffer.concat([chunk, adminShutdown()]));
      return postgres.destroy();
    });
    client.on('error', () => {}).on('close', () => postgres.destroy());
    client.on('close', () => listening.delete(client));
    postgres.on('error', () => {}).on('close', () => client.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => void server.close());
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    listeners: () => listening.size,
    /** Ends all that listen, and from then on so many new ones of any kind. */
    async end(count: number) {
      const until = ended + count;
      isEnding = true;
      for (const socket of listening) socket.destroy();
      await eventually(() => ended >= until);
      isEnding = false;
    },
  };
}

it('a connection that Postgres ends as soon as it is there does not end Parley', async () => {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const proxy = await startProxy(database.connectionString);
  const apiKey = `parley_${randomBytes(24).toString('hex')}`;
  const installation = await install({
    DATABASE_URL: proxy.url,
    SECRETS_KEY: randomBytes(32).toString('base64'),
    BOOTSTRAP_API_KEY: apiKey,
    ALLOWED_TARGET_CIDRS: '127.0.0.0/8',
    LOG_LEVEL: 'warn',
  });
  const parley = await installation.start();
  // That of the hints, and those of the queues.
  await eventually(() => proxy.listeners() > 1);
  await proxy.end(5);

  const receiver = await startReceiver();
  const client = createClient(parley.url, apiKey);
  await registerHandler(client, { kind: 'HTTP', url: receiver.url });
  await receive(client, 'hello');
  await receiver.waitFor(1);
  expect(await parley.terminate()).toBe(0);
});
