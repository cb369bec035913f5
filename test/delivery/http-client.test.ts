import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer, type ServerOptions } from 'node:https';
import {
  type AddressInfo,
  createServer,
  isIP,
  type LookupFunction,
  type Server,
  type Socket,
} from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  createHttpClient,
  type HttpClient,
  type HttpClientOptions,
  type PostResult,
} from '../../src/delivery/http-client.js';
import { createTargetGuard } from '../../src/delivery/target-guard.js';

const loopbackGuard = createTargetGuard({ allowedCidrs: ['127.0.0.0/8'], requireHttps: false });
const publicGuard = createTargetGuard({ allowedCidrs: [], requireHttps: false });

interface Listener {
  readonly port: number;
  readonly url: string;
  /** Every connection there has ever been. */
  readonly connections: Socket[];
}

const disposals: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose();
});

async function listen(server: Server, scheme = 'http'): Promise<Listener> {
  const connections: Socket[] = [];
  server.on('connection', (socket) => {
    connections.push(socket);
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  disposals.push(async () => {
    for (const socket of connections) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `${scheme}://127.0.0.1:${port}/hook`, connections };
}

const listenHttp = (handler: RequestListener) => listen(createHttpServer(handler));
const listenHttps = (options: ServerOptions) =>
  listen(
    createHttpsServer(options, (_request, response) => response.end('ok')),
    'https',
  );

/** Answers the first bytes of every connection by hand. */
const listenRaw = (answer: (socket: Socket) => void) =>
  listen(createServer((socket) => socket.once('data', () => answer(socket))));

function createClient(overrides: Partial<HttpClientOptions> = {}): HttpClient {
  const client = createHttpClient({
    guard: loopbackGuard,
    deadlineMs: 5_000,
    userAgent: 'Parley/1.2.3',
    ...overrides,
  });
  disposals.push(() => client.close());
  return client;
}

const post = (client: HttpClient, url: string, signal?: AbortSignal): Promise<PostResult> =>
  client.post({ url, headers: { 'content-type': 'application/json' }, body: Buffer.from('{"a":1}'), signal });

/** A resolver that knows only these names, and counts how often it is asked. */
function resolver(answers: (hostname: string, call: number) => string[]) {
  let calls = 0;
  const lookup: LookupFunction = (hostname, _options, callback) => {
    const found = answers(hostname, calls++).map((address) => ({ address, family: isIP(address) }));
    setImmediate(callback, null, found);
  };
  return { lookup, calls: () => calls };
}

describe('an answer', () => {
  it('of 200 succeeds, and the receiver has got the very bytes and headers', async () => {
    const received: unknown[] = [];
    const listener = await listenHttp(async (request, response) => {
      const body = Buffer.concat(await request.toArray());
      received.push(request.method, request.url, request.headers, body.toString('hex'));
      response.end('thanks');
    });
    const body = Uint8Array.from([0xff, 0x00, 0xc3, 0x28]);
    const url = `http://127.0.0.1:${listener.port}/a%20b/%C3%BC?x=1&y=%2F`;
    const result = await createClient().post({ url, headers: { 'webhook-id': 'delivery_1' }, body });

    expect(result).toEqual({
      statusCode: 200,
      durationMs: expect.any(Number),
      error: null,
      responseBody: 'thanks',
      retryAfterMs: null,
    });
    const headers = {
      'webhook-id': 'delivery_1',
      'user-agent': 'Parley/1.2.3',
      'accept-encoding': 'identity',
      'content-length': '4',
      host: `127.0.0.1:${listener.port}`,
    };
    expect(received).toEqual([
      'POST',
      '/a%20b/%C3%BC?x=1&y=%2F',
      expect.objectContaining(headers),
      'ff00c328',
    ]);
  });

  it.each([
    [200, null],
    [201, null],
    [204, null],
    [299, null],
    [400, 'http_400'],
    [404, 'http_404'],
    [410, 'http_410'],
    [429, 'http_429'],
    [500, 'http_500'],
    [503, 'http_503'],
    [599, 'http_599'],
  ])('of %i has the error class %s', async (status, error) => {
    const listener = await listenHttp((_request, response) => response.writeHead(status).end());
    expect(await post(createClient(), listener.url)).toMatchObject({
      statusCode: status,
      error,
      responseBody: '',
    });
  });

  it('of 500 is kept with its body', async () => {
    const listener = await listenHttp((_request, response) => response.writeHead(500).end('{"oops":true}'));
    const result = await post(createClient(), listener.url);
    expect(result).toMatchObject({ statusCode: 500, error: 'http_500', responseBody: '{"oops":true}' });
  });

  it.each([
    [429, '7', 7_000],
    [503, '120', 120_000],
    [503, 'soon', null],
    [503, undefined, null],
    [200, '7', null],
    [500, '7', null],
  ])('of %i with Retry-After %s asks for %s ms', async (status, header, retryAfterMs) => {
    const headers = header === undefined ? {} : { 'retry-after': header };
    const listener = await listenHttp((_request, response) => response.writeHead(status, headers).end());
    expect(await post(createClient(), listener.url)).toMatchObject({ statusCode: status, retryAfterMs });
  });

  it.each([301, 302, 303, 304, 307, 308])(
    'of %i is refused, and its target never contacted',
    async (status) => {
      const target = await listenHttp((_request, response) => response.end());
      const listener = await listenHttp((_request, response) =>
        response.writeHead(status, { location: target.url }).end(),
      );
      expect(await post(createClient(), listener.url)).toMatchObject({
        statusCode: status,
        error: 'redirect_refused',
      });
      expect(listener.connections).toHaveLength(1);
      expect(target.connections).toHaveLength(0);
    },
  );

  it.each([
    ['2,048 bytes whole', Buffer.alloc(2_048, 'x'), 'x'.repeat(2_048)],
    ['2,049 bytes cut', Buffer.alloc(2_049, 'x'), 'x'.repeat(2_048)],
    ['characters whole at the cut', Buffer.from(`a${'é'.repeat(2_000)}`), `a${'é'.repeat(1_023)}`],
    ['an emoji whole at the cut', Buffer.from(`ab${'🎉'.repeat(600)}`), `ab${'🎉'.repeat(511)}`],
    ['no NULs', Buffer.from('a\0b\0'), 'ab'],
    ['replacements for what is not UTF-8', Buffer.from([0x61, 0xff, 0x62, 0xc3]), 'a\ufffdb\ufffd'],
  ])('is kept with %s', async (_what, body, responseBody) => {
    const listener = await listenHttp((_request, response) => response.end(body));
    expect((await post(createClient(), listener.url)).responseBody).toBe(responseBody);
  });

  it('of a gigabyte is cut off after little more than what is kept', async () => {
    const chunk = Buffer.alloc(65_536, 'x');
    const listener = await listenHttp((_request, response) => {
      let left = 16_384;
      const write = () => {
        while (left-- > 0 && !response.destroyed) if (!response.write(chunk)) return;
        response.end();
      };
      response.on('drain', write);
      write();
    });
    const result = await post(createClient(), listener.url);
    expect(result).toMatchObject({ statusCode: 200, error: null, responseBody: 'x'.repeat(2_048) });

    const [socket] = listener.connections as [Socket];
    await vi.waitFor(() => expect(socket.destroyed).toBe(true), 5_000);
    // What the kernel's buffers for both ends hold is a few megabytes, whatever the client reads.
    expect(socket.bytesWritten).toBeLessThan(32_000_000);
  });

  it('that is a gzip bomb is not inflated', async () => {
    const bomb = gzipSync(Buffer.alloc(100_000_000));
    const listener = await listenHttp((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb);
    });
    const result = await post(createClient(), listener.url);
    expect(result).toMatchObject({ statusCode: 200, error: null });
    expect(result.responseBody?.slice(0, 2)).toBe('\x1f\ufffd');
    expect(result.responseBody?.length).toBeLessThanOrEqual(2_048);
  });
});

describe('a receiver that fails', () => {
  const drip = (socket: Socket, start: string) => {
    socket.write(start);
    const timer = setInterval(() => socket.write('x'), 20);
    socket.on('close', () => clearInterval(timer));
  };

  it.each<[string, number | null, (socket: Socket) => void]>([
    ['never answers', null, () => {}],
    ['drips its headers', null, (socket) => drip(socket, 'HTTP/1.1 200 OK\r\nx-slow: ')],
    ['drips its body', 200, (socket) => drip(socket, 'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n')],
    ['stops in its body', 500, (socket) => socket.write('HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nhalf')],
    ['never goes beyond 102', null, (socket) => socket.write('HTTP/1.1 102 Processing\r\n\r\n')],
  ])('and %s meets the deadline', async (_what, statusCode, answer) => {
    const listener = await listenRaw(answer);
    const result = await post(createClient({ deadlineMs: 400 }), listener.url);
    expect(result).toMatchObject({ statusCode, error: 'timeout' });
    expect(result.durationMs).toBeGreaterThanOrEqual(390);
    expect(result.durationMs).toBeLessThan(3_000);
    // The connection is gone, too, and not only the patience.
    const [socket] = listener.connections as [Socket];
    await vi.waitFor(() => expect(socket.destroyed).toBe(true), 5_000);
  });

  it('keeps what had come before the deadline', async () => {
    const listener = await listenRaw((socket) =>
      socket.write('HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nhalf'),
    );
    expect((await post(createClient({ deadlineMs: 400 }), listener.url)).responseBody).toBe('half');
  });

  it('and never finishes the TLS handshake meets the deadline', async () => {
    const listener = await listen(createServer(), 'https');
    const result = await post(createClient({ deadlineMs: 400 }), listener.url);
    expect(result).toMatchObject({ statusCode: null, error: 'timeout' });
    expect(result.durationMs).toBeLessThan(3_000);
  });

  it('and whose name never resolves meets the deadline', async () => {
    const result = await post(createClient({ deadlineMs: 400, lookup: () => {} }), 'http://slow.example/');
    expect(result).toMatchObject({ statusCode: null, error: 'timeout', responseBody: null });
    expect(result.durationMs).toBeLessThan(3_000);
  });

  it('and has nothing listening is connection_failed', async () => {
    const listener = await listen(createServer());
    await disposals.pop()!();
    expect(await post(createClient(), listener.url)).toMatchObject({
      statusCode: null,
      error: 'connection_failed',
    });
  });

  it('fails every waiting attempt at once, also those that wait for a connection', async () => {
    const listener = await listen(createServer());
    await disposals.pop()!();
    const client = createClient({ connectionsPerOrigin: 2 });
    const results = await Promise.all(Array.from({ length: 30 }, () => post(client, listener.url)));
    expect(new Set(results.map(({ error }) => error))).toEqual(new Set(['connection_failed']));
    expect(Math.max(...results.map(({ durationMs }) => durationMs))).toBeLessThan(3_000);
  });

  it('and whose name does not exist is dns_failed', async () => {
    const lookup: LookupFunction = (hostname, _options, callback) =>
      callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), { code: 'ENOTFOUND' }), '');
    expect(await post(createClient({ lookup }), 'http://gone.example/')).toMatchObject({
      error: 'dns_failed',
    });
    const nothing = resolver(() => []).lookup;
    expect(await post(createClient({ lookup: nothing }), 'http://gone.example/')).toMatchObject({
      error: 'dns_failed',
    });
  });

  it.each<[string, number | null, (socket: Socket) => void]>([
    ['at once', null, (socket) => socket.resetAndDestroy()],
    ['without an answer', null, (socket) => socket.end()],
    ['within the headers', null, (socket) => socket.end('HTTP/1.1 200 OK\r\nx-a: ')],
    ['within the body', 200, (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf')],
    [
      'within a body of a last request',
      200,
      (socket) => socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 99\r\n\r\nhalf'),
    ],
    [
      'within a chunk',
      200,
      (socket) =>
        socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf'),
    ],
    [
      'by a reset within the body',
      200,
      (socket) =>
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf', () =>
          setImmediate(() => socket.resetAndDestroy()),
        ),
    ],
  ])('and closes %s is connection_reset', async (_when, statusCode, answer) => {
    const listener = await listenRaw(answer);
    expect(await post(createClient(), listener.url)).toMatchObject({ statusCode, error: 'connection_reset' });
    expect(listener.connections).toHaveLength(1);
  });

  it.each([
    ['that is no HTTP', '220 mail.example ESMTP\r\n'],
    ['with a nonsensical status', 'HTTP/1.1 20x OK\r\n\r\n'],
    ['with two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab'],
    ['with headers of 40 KB', `HTTP/1.1 200 OK\r\n${`x-padding: ${'x'.repeat(4_000)}\r\n`.repeat(10)}\r\n`],
    ['that upgrades', 'HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'],
  ])('and gives an answer %s is invalid_response', async (_what, answer) => {
    const listener = await listenRaw((socket) => socket.write(answer));
    expect(await post(createClient(), listener.url)).toMatchObject({ error: 'invalid_response' });
  });
});

describe('a forbidden target', () => {
  const loopbackSpellings = [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0177.0.0.1',
    '127.0.0.1.',
    '１２７.0.0.1',
    '0.0.0.0',
  ];
  const otherSpellings = [
    '[::]',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '[fe80::1]',
    '[fd00:ec2::254]',
    '10.0.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '0xa9fea9fe',
    'localhost',
  ];
  // A guard whose check of URLs lets everything pass, so that only the check of what is dialled is left.
  const dialOnly = (guard: typeof publicGuard) => ({ ...guard, urlIssue: () => null });
  const blind = { urlIssue: () => null, addressAllowed: () => true };

  it.each(loopbackSpellings)('spelled %s would be reached without the guard', async (host) => {
    const listener = await listenHttp((_request, response) => response.end());
    const result = await post(createClient({ guard: blind }), `http://${host}:${listener.port}/`);
    expect(result).toMatchObject({ statusCode: 200 });
    expect(listener.connections).toHaveLength(1);
  });

  it.each([...loopbackSpellings, ...otherSpellings])('spelled %s is not dialled', async (host) => {
    const listener = await listenHttp((_request, response) => response.end());
    const url = `http://${host}:${listener.port}/`;
    const refused = { statusCode: null, error: 'forbidden_address', responseBody: null };
    expect(await post(createClient({ guard: publicGuard }), url)).toMatchObject(refused);
    expect(await post(createClient({ guard: dialOnly(publicGuard) }), url)).toMatchObject(refused);
    const overTls = createClient({ guard: dialOnly(publicGuard) });
    expect(await post(overTls, url.replace('http:', 'https:'))).toMatchObject(refused);
    expect(listener.connections).toHaveLength(0);
  });

  it.each(['127.0.0.1', '::1', '::ffff:127.0.0.1', '10.0.0.1', '169.254.169.254', '64:ff9b::7f00:1'])(
    'behind a name that resolves to %s is not dialled',
    async (address) => {
      const listener = await listenHttp((_request, response) => response.end());
      const { lookup } = resolver(() => [address]);
      const client = createClient({ guard: publicGuard, lookup });
      const url = `http://rebind.example:${listener.port}/`;
      expect(await post(client, url)).toMatchObject({ statusCode: null, error: 'forbidden_address' });
      expect(await post(client, url.replace('http:', 'https:'))).toMatchObject({
        error: 'forbidden_address',
      });
      expect(listener.connections).toHaveLength(0);
    },
  );

  it('is not reached by a name that changes its answer from one call to the next', async () => {
    const listener = await listenHttp((_request, response) => response.end());
    // 127.0.0.2 is allowed and has no listener, 127.0.0.1 has one and is forbidden.
    const guard = createTargetGuard({ allowedCidrs: ['127.0.0.2/32'], requireHttps: false });
    const { lookup, calls } = resolver((_hostname, call) => [call % 2 === 0 ? '127.0.0.2' : '127.0.0.1']);
    const client = createClient({ guard, lookup });
    const errors: unknown[] = [];
    for (let attempt = 0; attempt < 20; attempt += 1) {
      errors.push((await post(client, `http://rebind.example:${listener.port}/`)).error);
    }
    // One question for each attempt: there is no second one whose answer could differ from the checked one.
    expect(calls()).toBe(20);
    expect(errors).toEqual(
      Array.from({ length: 20 }, (_, n) => (n % 2 ? 'forbidden_address' : 'connection_failed')),
    );
    expect(listener.connections).toHaveLength(0);
  });

  it('is left out of a mixed answer, and only the rest is dialled', async () => {
    const listener = await listenHttp((_request, response) => response.end());
    const guard = createTargetGuard({ allowedCidrs: ['127.0.0.2/32'], requireHttps: false });
    const { lookup } = resolver(() => ['127.0.0.1', '127.0.0.2', '::ffff:127.0.0.1']);
    const result = await post(createClient({ guard, lookup }), `http://mixed.example:${listener.port}/`);
    expect(result.error).toBe('connection_failed');
    expect(listener.connections).toHaveLength(0);
  });

  it('is refused through the real resolver, too', async () => {
    const listener = await listenHttp((_request, response) => response.end());
    const client = createClient({ guard: dialOnly(publicGuard) });
    const result = await post(client, `http://localhost:${listener.port}/`);
    expect(result).toMatchObject({ statusCode: null, error: 'forbidden_address' });
    expect(listener.connections).toHaveLength(0);
  });

  it('is dialled when a CIDR block allows it, by address and by name', async () => {
    const listener = await listenHttp((_request, response) => response.end());
    const guard = createTargetGuard({ allowedCidrs: ['127.0.0.1/32'], requireHttps: false });
    const client = createClient({ guard, lookup: resolver(() => ['127.0.0.1']).lookup });
    expect(await post(client, listener.url)).toMatchObject({ statusCode: 200, error: null });
    expect(await post(client, `http://inside.example:${listener.port}/`)).toMatchObject({ statusCode: 200 });
    expect(await post(client, 'http://127.0.0.3/')).toMatchObject({ error: 'forbidden_address' });
  });

  it.each(['http://example.com/', 'http://user:password@example.com/', 'ftp://example.com/', 'nonsense'])(
    'by its URL %s is refused without asking DNS',
    async (url) => {
      const guard = createTargetGuard({ allowedCidrs: [], requireHttps: true });
      const { lookup, calls } = resolver(() => ['93.184.216.34']);
      expect(await post(createClient({ guard, lookup }), url)).toMatchObject({ error: 'forbidden_address' });
      expect(calls()).toBe(0);
    },
  );
});

describe('TLS', () => {
  const named = certificate(['hooks.example'], ['127.0.0.1']);
  const { lookup } = resolver(() => ['127.0.0.1']);

  it('succeeds with a certificate that is trusted and has the name', async () => {
    const listener = await listenHttps({ key: named.key, cert: named.cert });
    const client = createClient({ lookup, certificateAuthorities: [named.cert] });
    const url = `https://hooks.example:${listener.port}/`;
    expect(await post(client, url)).toMatchObject({ statusCode: 200, error: null, responseBody: 'ok' });
    expect(await post(client, listener.url)).toMatchObject({ statusCode: 200, error: null });
  });

  it('fails with the wrong name', async () => {
    const listener = await listenHttps({ key: named.key, cert: named.cert });
    const client = createClient({ lookup, certificateAuthorities: [named.cert] });
    const result = await post(client, `https://other.example:${listener.port}/`);
    expect(result).toMatchObject({ statusCode: null, error: 'tls_error' });
  });

  it('fails with a certificate that nobody vouches for, whatever NODE_TLS_REJECT_UNAUTHORIZED says', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    onTestFinished(() => void vi.unstubAllEnvs());
    const listener = await listenHttps({ key: named.key, cert: named.cert });
    const result = await post(createClient({ lookup }), `https://hooks.example:${listener.port}/`);
    expect(result).toMatchObject({ statusCode: null, error: 'tls_error' });
  });

  it('fails with a certificate that has expired', async () => {
    const old = certificate(['hooks.example'], [], '20200101000000Z');
    const listener = await listenHttps({ key: old.key, cert: old.cert });
    const client = createClient({ lookup, certificateAuthorities: [old.cert] });
    expect(await post(client, `https://hooks.example:${listener.port}/`)).toMatchObject({
      error: 'tls_error',
    });
  });

  it('fails with a server that speaks nothing newer than TLS 1.1', async () => {
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    const listener = await listenHttps({ key: named.key, cert: named.cert, ...old });
    const client = createClient({ lookup, certificateAuthorities: [named.cert] });
    expect(await post(client, `https://hooks.example:${listener.port}/`)).toMatchObject({
      error: 'tls_error',
    });
  });

  it('fails with a server that speaks plain HTTP, and sends it nothing readable', async () => {
    let requests = 0;
    const listener = await listenHttp((_request, response) => {
      requests += 1;
      response.end();
    });
    const result = await post(createClient(), `https://127.0.0.1:${listener.port}/`);
    expect(result).toMatchObject({ statusCode: null, error: 'tls_error' });
    expect(requests).toBe(0);
  });
});

describe('connections', () => {
  it('are kept alive and used again', async () => {
    const listener = await listenHttp((_request, response) => response.end());
    const client = createClient();
    for (let count = 0; count < 20; count += 1) expect((await post(client, listener.url)).error).toBeNull();
    expect(listener.connections.length).toBeLessThan(5);
  });

  it('are bounded for each origin, and every attempt gets its turn', async () => {
    const listener = await listenHttp((_request, response) => setImmediate(() => response.end()));
    const client = createClient({ connectionsPerOrigin: 3 });
    const results = await Promise.all(Array.from({ length: 60 }, () => post(client, listener.url)));
    expect(results.every(({ error }) => error === null)).toBe(true);
    expect(listener.connections.length).toBeLessThanOrEqual(3);
  });

  it('are closed when idle', async () => {
    const listener = await listenHttp((_request, response) => {
      response.writeHead(200, { connection: 'keep-alive', 'keep-alive': 'timeout=3' }).end();
    });
    expect((await post(createClient(), listener.url)).error).toBeNull();
    const [socket] = listener.connections as [Socket];
    expect(socket.destroyed).toBe(false);
    await vi.waitFor(() => expect(socket.destroyed).toBe(true), 10_000);
  });

  it('are not waited for beyond the deadline, and what has waited too long is never sent', async () => {
    const paths: (string | undefined)[] = [];
    const listener = await listenHttp((request, response) => {
      paths.push(request.url);
      if (request.url === '/last') response.end();
    });
    // What comes after the first connection, on which there is no answer, waits until nobody else does any more.
    const held: (() => void)[] = [];
    let dials = 0;
    const { lookup } = resolver(() => ['127.0.0.1']);
    const client = createClient({
      connectionsPerOrigin: 1,
      deadlineMs: 400,
      lookup: (...call) => {
        dials += 1;
        if (dials === 2) held.push(() => lookup(...call));
        else lookup(...call);
      },
    });
    const to = (path: string) => post(client, `http://hooks.example:${listener.port}${path}`);
    const results = await Promise.all(Array.from({ length: 5 }, () => to('/hook')));
    expect(results.map(({ error }) => error)).toEqual(Array(5).fill('timeout'));
    await vi.waitFor(() => expect(held).toHaveLength(1));
    held[0]!();
    await vi.waitFor(() => expect(listener.connections.length).toBeGreaterThan(1));
    // This one comes after the four that waited.
    expect((await to('/last')).error).toBeNull();
    expect(paths).toEqual(['/hook', '/last']);
  });
});

describe('ending early', () => {
  it('by a signal is aborted, and the connection is cut', async () => {
    const abort = new AbortController();
    const listener = await listenHttp(() => abort.abort());
    expect(await post(createClient(), listener.url, abort.signal)).toMatchObject({ error: 'aborted' });
    const [socket] = listener.connections as [Socket];
    await vi.waitFor(() => expect(socket.destroyed).toBe(true), 5_000);
  });

  it('by a signal before the start dials nothing', async () => {
    const listener = await listenHttp((_request, response) => response.end());
    expect(await post(createClient(), listener.url, AbortSignal.abort())).toMatchObject({ error: 'aborted' });
    expect(listener.connections).toHaveLength(0);
  });

  it('by closing aborts what is in flight, also what has no connection yet, and what comes later', async () => {
    const listener = await listenHttp(() => void client.close());
    const client = createClient({ connectionsPerOrigin: 1, lookup: () => {} });
    const attempts = [listener.url, listener.url, 'http://slow.example/'].map((url) => post(client, url));
    const results = await Promise.all(attempts);
    expect(results.map(({ error }) => error)).toEqual(['aborted', 'aborted', 'aborted']);
    expect(await post(client, listener.url)).toMatchObject({ error: 'aborted' });
    expect(listener.connections).toHaveLength(1);
  });

  it('leaves no listeners on a signal that many attempts share', async () => {
    const warned = vi.fn();
    process.on('warning', warned);
    onTestFinished(() => void process.off('warning', warned));
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, 'addEventListener');
    const removed = vi.spyOn(signal, 'removeEventListener');
    const listener = await listenHttp((_request, response) => response.end());
    const client = createClient();
    await Promise.all(Array.from({ length: 50 }, () => post(client, listener.url, signal)));
    expect(removed.mock.calls).toHaveLength(added.mock.calls.length);
    expect(warned).not.toHaveBeenCalled();
  });

  it('rejects only a request that cannot be written', async () => {
    const request = { url: 'http://127.0.0.1/', headers: { 'x-a': 'b\r\nx-c: d' }, body: Buffer.from('{}') };
    await expect(createClient().post(request)).rejects.toThrow('invalid x-a header');
  });
});

/**
 * A self-signed X.509 certificate (RFC 5280), written by hand so that the tests need no openssl on the machine:
 * Node makes keys and signatures but no certificates.
 */
function certificate(dnsNames: string[], addresses: string[], notAfter = '20990101000000Z') {
  const der = (tag: number, ...parts: (Buffer | string)[]): Buffer => {
    const content = Buffer.concat(parts.map((part) => Buffer.from(part as string)));
    const length =
      content.length < 128 ? [content.length] : [0x82, content.length >> 8, content.length & 255];
    return Buffer.concat([Buffer.from([tag, ...length]), content]);
  };
  const sequence = (...parts: Buffer[]) => der(0x30, ...parts);
  const oid = (hex: string) => der(0x06, Buffer.from(hex, 'hex'));
  const time = (text: string) => der(0x18, text);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ecdsaWithSha256 = sequence(oid('2a8648ce3d040302'));
  const name = sequence(der(0x31, sequence(oid('550403'), der(0x0c, 'Parley test'))));
  const alternativeNames = sequence(
    ...dnsNames.map((dnsName) => der(0x82, dnsName)),
    ...addresses.map((address) => der(0x87, Buffer.from(address.split('.').map(Number)))),
  );
  const toBeSigned = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1])),
    ecdsaWithSha256,
    name,
    sequence(time('20190101000000Z'), time(notAfter)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(sequence(oid('551d11'), der(0x04, alternativeNames)))),
  );
  const signature = der(0x03, Buffer.from([0]), sign('sha256', toBeSigned, privateKey));
  const base64 = sequence(toBeSigned, ecdsaWithSha256, signature).toString('base64');
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
  };
}
