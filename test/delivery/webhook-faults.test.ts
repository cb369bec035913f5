import { once } from 'node:events';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { decodeId } from '../../src/ids.js';
import { startApp, startAppForTest, type TestApp } from '../support/app.js';
import { query } from '../support/query.js';
import { startReceiver } from '../support/receiver.js';
import { answers, deliveriesThat, hasStatus, registerWebhook, sendMessages } from '../support/webhooks.js';

const DEADLINE_MS = 2_000;
const LONG = 3_600;

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ webhookRetryScheduleSeconds: [0, LONG], deliveryDeadlineMs: DEADLINE_MS });
});
afterAll(() => app.close());

/** A server that keeps every connection that it ever had, and every byte that came. */
async function listen(server: Server) {
  const connections: Socket[] = [];
  const received: Buffer[] = [];
  server.on('connection', (socket) => {
    connections.push(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => received.push(chunk));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(async () => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, connections, received };
}

/** Answers the first bytes of every connection by hand. */
const listenRaw = (answer: (socket: Socket) => void) =>
  listen(createServer((socket) => socket.once('data', () => answer(socket))));

/** The first attempt at a URL. */
async function attemptAt(url: string, parley = app) {
  const client = await parley.tenant();
  const { id } = await registerWebhook(client, url);
  await sendMessages(client);
  const [delivery] = await deliveriesThat(client, id, ({ attempts }) => attempts.length > 0);
  return delivery!.attempts[0]!;
}

describe('a receiver', () => {
  it('that fails three times and then takes it gets four requests', async () => {
    const quick = await startAppForTest({ webhookRetryScheduleSeconds: [0, 0, 0, 0, LONG] });
    const client = await quick.tenant();
    const receiver = await startReceiver(answers(500, 500, 500, 200));
    const { id } = await registerWebhook(client, receiver.url);
    await sendMessages(client);
    const [delivery] = await deliveriesThat(client, id, hasStatus('DELIVERED'));
    expect(delivery!.attempts.map(({ statusCode }) => statusCode)).toEqual([500, 500, 500, 200]);
    expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id']))).toEqual(
      new Set([delivery!.id]),
    );
  });

  it.each<[string, number | null, (socket: Socket) => void]>([
    ['never answers', null, () => {}],
    [
      'sends a byte now and then',
      200,
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n');
        const timer = setInterval(() => socket.write('x'), 100);
        socket.on('close', () => clearInterval(timer));
      },
    ],
  ])('that %s is given up at the deadline', async (_what, statusCode, answer) => {
    const { port } = await listenRaw(answer);
    const attempt = await attemptAt(`http://127.0.0.1:${port}`);
    expect(attempt).toMatchObject({ error: 'timeout', statusCode });
    expect(Math.abs(attempt.durationMs - DEADLINE_MS)).toBeLessThan(1_000);
  });

  it('that resets the connection has failed', async () => {
    const { port } = await listenRaw((socket) => socket.resetAndDestroy());
    expect(await attemptAt(`http://127.0.0.1:${port}`)).toMatchObject({ error: 'connection_reset' });
  });

  it('that nobody vouches for is told nothing', async () => {
    // Without a certificate no handshake can succeed; the plain port beside it would take anything.
    const secure = await listen(createHttpsServer({}, (_, response) => response.end()));
    expect(await attemptAt(`https://127.0.0.1:${secure.port}`)).toMatchObject({ error: 'tls_error' });
    const plain = await startReceiver();
    expect(await attemptAt(plain.url.replace('http:', 'https:'))).toMatchObject({ error: 'tls_error' });
    expect(plain.received).toEqual([]);
    expect(Buffer.concat(secure.received).includes('message.created')).toBe(false);
  });

  it('that redirects is not followed', async () => {
    const elsewhere = await listen(createServer());
    const receiver = await startReceiver((_, response) => {
      response.writeHead(302, { location: `http://127.0.0.1:${elsewhere.port}/` }).end();
    });
    expect(await attemptAt(receiver.url)).toMatchObject({ error: 'redirect_refused', statusCode: 302 });
    expect(elsewhere.connections).toHaveLength(0);
  });

  it.each([429, 503])('that is busy with %d is left alone for as long as it asks', async (status) => {
    const client = await app.tenant();
    const receiver = await startReceiver((_, response) => {
      response.writeHead(status, { 'retry-after': '7200' }).end();
    });
    const { id } = await registerWebhook(client, receiver.url);
    await sendMessages(client);
    const [delivery] = await deliveriesThat(client, id, ({ nextAttemptAt, attempts }) =>
      Boolean(nextAttemptAt && attempts.length),
    );
    const waitMs = Date.parse(delivery!.nextAttemptAt!) - Date.parse(delivery!.attempts[0]!.at);
    expect(waitMs).toBeGreaterThanOrEqual(7_200_000);
    expect(waitMs).toBeLessThan(7_260_000);
  });

  it('that asks for a year is tried again after a day', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver((_, response) => {
      response.writeHead(429, { 'retry-after': String(365 * 24 * 3_600) }).end();
    });
    const { id } = await registerWebhook(client, receiver.url);
    await sendMessages(client);
    const [delivery] = await deliveriesThat(client, id, ({ nextAttemptAt, attempts }) =>
      Boolean(nextAttemptAt && attempts.length),
    );
    const waitMs = Date.parse(delivery!.nextAttemptAt!) - Date.parse(delivery!.attempts[0]!.at);
    expect(Math.abs(waitMs - 24 * 3_600_000)).toBeLessThan(60_000);
  });
});

describe('an answer', () => {
  it('of a gigabyte, and one that is a gzip bomb, cost next to no memory, several at once of each', async () => {
    const patient = await startAppForTest();
    const client = await patient.tenant();
    const chunk = Buffer.alloc(65_536, 'x');
    const endless = await startReceiver((_, response) => {
      let left = 16_384;
      const write = () => {
        while (left-- > 0 && !response.destroyed) if (!response.write(chunk)) return;
        response.end();
      };
      response.on('drain', write);
      write();
    });
    const bomb = gzipSync(Buffer.alloc(100_000_000));
    const bombing = await startReceiver((_, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb);
    });
    const webhooks = [await registerWebhook(client, endless.url), await registerWebhook(client, bombing.url)];

    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const liveBytes = () => {
      collectGarbage();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const before = liveBytes();
    let most = before;
    const sampling = setInterval(() => {
      most = Math.max(most, liveBytes());
    }, 250);
    onTestFinished(() => clearInterval(sampling));
    await sendMessages(client, 5);
    for (const { id } of webhooks) {
      const deliveries = await deliveriesThat(client, id, hasStatus('DELIVERED'), 5);
      for (const { attempts } of deliveries) {
        expect(attempts[0]!.responseBody!.length).toBeLessThanOrEqual(2_048);
      }
    }
    expect((most - before) / 1_048_576).toBeLessThan(50);
  });
});

describe('a forbidden target', () => {
  const spellings = [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '127.0.0.1.',
    'localhost',
    'LOCALHOST.',
    '0.0.0.0',
    '0',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[64:ff9b::7f00:1]',
    '[::127.0.0.1]',
    '①②⑦.⓪.⓪.①',
  ];

  it('is not dialled in any spelling, though its row has it, and the attempt says so', async () => {
    const strict = await startAppForTest({
      allowedTargetCidrs: [],
      webhookRetryScheduleSeconds: [0, LONG],
    });
    const client = await strict.tenant();
    const listener = await listen(createServer());
    const webhooks = await Promise.all(
      spellings.map(async (host) => {
        const { id } = await registerWebhook(client, 'https://example.com/');
        await query(strict.databaseUrl, 'UPDATE webhook SET url = $1 WHERE id = $2', [
          `http://${host}:${listener.port}/`,
          decodeId('webhook', id),
        ]);
        return id;
      }),
    );
    await sendMessages(client);
    const errors = await Promise.all(
      webhooks.map(async (id) => {
        const [delivery] = await deliveriesThat(client, id, ({ attempts }) => attempts.length > 0);
        return delivery!.attempts[0]!.error;
      }),
    );
    expect(errors).toEqual(spellings.map(() => 'forbidden_address'));
    expect(listener.connections).toHaveLength(0);
  });

  it('is not reached by a name of this machine, either', async () => {
    const strict = await startAppForTest({ allowedTargetCidrs: [], webhookRetryScheduleSeconds: [0, LONG] });
    const client = await strict.tenant();
    const listener = await listen(createServer());
    const { id } = await registerWebhook(client, `http://ip6-loopback:${listener.port}/`);
    await sendMessages(client);
    const [delivery] = await deliveriesThat(client, id, ({ attempts }) => attempts.length > 0);
    expect(['forbidden_address', 'dns_failed']).toContain(delivery!.attempts[0]!.error);
    expect(listener.connections).toHaveLength(0);
  });
});
