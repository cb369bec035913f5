import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, METHODS } from 'node:http';
import { connect, type Socket } from 'node:net';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { restRoutes } from '../../src/rest-compat/routes.js';
import { REST, startApp, startAppForTest, type TestApp } from '../support/app.js';
import { eventually } from '../support/receiver.js';

const execute = promisify(execFile);

const LIMIT = 10_485_760;
const BIG = 11_000_000;

const message = {
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'x',
  channelKey: 'k',
  content: { body: 'Hello' },
};
const TOO_LARGE = {
  error: {
    code: 'payload_too_large',
    message: 'The request body is too large',
    details: [{ field: 'body', issue: 'is larger than the server accepts' }],
  },
};

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look at answers freely
  readonly body: any;
}

/** A connection that sends bytes as they are, and keeps what comes. */
class Wire {
  received = '';
  isClosed = false;
  fault: Error | null = null;

  private constructor(readonly socket: Socket) {
    socket.on('data', (chunk) => {
      this.received += chunk.toString('latin1');
    });
    socket.on('error', (error) => {
      this.fault = error;
    });
    socket.on('close', () => {
      this.isClosed = true;
    });
    onTestFinished(() => void socket.destroy());
  }

  static async open(url = app.url): Promise<Wire> {
    const wire = new Wire(connect(Number(new URL(url).port), '127.0.0.1'));
    await once(wire.socket, 'connect');
    return wire;
  }

  send(...lines: string[]): this {
    this.socket.write(lines.join('\r\n'));
    return this;
  }

  /** The first answer, complete by its Content-Length (which a HEAD has without a body). */
  async answer({ isHead = false } = {}): Promise<RawAnswer> {
    let answer: RawAnswer | null = null;
    await eventually(
      () => {
        answer = parse(this.received, isHead);
        return answer !== null || this.isClosed;
      },
      { timeoutMs: 10_000, describe: () => `an answer, got ${JSON.stringify(this.received)}` },
    );
    if (!answer) throw new Error(`No answer before the end (${this.fault}): ${this.received}`);
    return answer;
  }

  async closed(): Promise<void> {
    await eventually(() => this.isClosed, { describe: () => 'the end of the connection' });
  }
}

function parse(text: string, isHead: boolean): RawAnswer | null {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const [first = '', ...lines] = text.slice(0, end).split('\r\n');
  const headers = new Headers(lines.map((line) => line.split(/: (.*)/).slice(0, 2) as [string, string]));
  const status = Number(first.split(' ')[1]);
  if (status === 100) return parse(text.slice(end + 4), isHead);
  const body = text.slice(end + 4);
  if (!isHead && body.length < Number(headers.get('content-length') ?? 0)) return null;
  return { status, headers, body: body === '' ? null : JSON.parse(body) };
}

/** Opens a connection, sends a request, and gives its answer. */
async function exchange(...lines: string[]): Promise<RawAnswer> {
  const wire = await Wire.open();
  const answer = await wire.send(...lines).answer({ isHead: lines[0]?.startsWith('HEAD') ?? false });
  wire.socket.destroy();
  return answer;
}

const post = (...headers: string[]) => [
  `POST ${REST}/inbound HTTP/1.1`,
  'Host: parley',
  `X-Api-Key: ${app.apiKey}`,
  'Content-Type: application/json',
  ...headers,
];

describe('every answer', () => {
  it('is marked as data and no page, not to be kept, guessed at, framed or told on', async () => {
    const { operator } = app;
    const answers = [
      await operator.rest('GET', '/threads'),
      await operator.rest('POST', '/inbound', message),
      await operator.rest('POST', '/inbound', {}),
      await operator.rest('GET', '/threads/x'),
      await operator.rest('GET', '/nowhere'),
      await operator.rest('PUT', '/inbound', {}),
      await operator.graphql('{ viewer { tenantId } }'),
      await operator.graphql('{ nothing }'),
      await app.client('parley_unknown').rest('GET', '/threads'),
      await exchange('GET /healthz HTTP/1.1', 'Host: parley', '', ''),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 400, 404, 404, 405, 200, 400, 401, 200]);
    for (const { headers } of answers) {
      expect(Object.fromEntries(headers)).toMatchObject({
        'content-security-policy': expect.stringMatching(/^default-src 'none'; ?frame-ancestors 'none'$/),
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'same-origin',
        'cache-control': 'no-store',
        'x-request-id': expect.any(String),
      });
      expect(headers.has('x-powered-by')).toBe(false);
      expect(headers.has('strict-transport-security')).toBe(false);
    }
  });

  it('demands TLS from browsers when PUBLIC_URL has it', async () => {
    const secure = await startAppForTest({ publicUrl: 'https://parley.example' });
    const { headers } = await fetch(`${secure.url}/healthz`);
    expect(headers.get('strict-transport-security')).toBe('max-age=31536000; includeSubDomains');
  });
});

/** Every path that is mounted, with what it takes. */
const paths = new Map<string, string[]>([
  ['/healthz', ['GET']],
  ['/readyz', ['GET']],
  ['/metrics', ['GET']],
  ['/openapi.json', ['GET']],
  ['/docs', ['GET']],
  ['/graphql', ['GET', 'POST']],
]);
for (const { path, method } of restRoutes) {
  const concrete = path.replace(/:\w+/g, 'x');
  paths.set(concrete, [...(paths.get(concrete) ?? []), method]);
}

describe('a path that is there', () => {
  it.each([...paths])('%s answers every other method with 405 and Allow: %j', async (path, allowed) => {
    const implied = allowed.includes('GET') ? ['HEAD'] : [];
    const others = METHODS.filter((method) => ![...allowed, ...implied, 'CONNECT'].includes(method));
    for (const method of others) {
      const head = [`${method} ${path} HTTP/1.1`, 'Host: parley', `X-Api-Key: ${app.apiKey}`];
      const { status, headers, body } = await exchange(...head, '', '');
      expect([method, status, headers.get('allow')]).toEqual([method, 405, allowed.join(', ')]);
      const told = `This path takes ${allowed.join(', ')}`;
      if (method === 'HEAD') continue;
      expect(body).toEqual(
        path === '/graphql'
          ? { errors: [{ message: told, extensions: { code: 'BAD_REQUEST' } }] }
          : { error: { code: 'method_not_allowed', message: told } },
      );
    }
  });

  it('says 405 before it looks at the body', async () => {
    const { status } = await app.operator.rest('PUT', '/inbound', '{ no JSON');
    expect(status).toBe(405);
  });

  it('answers HEAD where it answers GET: the same head, no body', async () => {
    await app.operator.rest('POST', '/inbound', message);
    const { body } = await app.operator.rest('GET', '/threads');
    const threadId = body.threads[0].id;
    for (const path of [
      '/healthz',
      '/readyz',
      '/openapi.json',
      `${REST}/threads`,
      `${REST}/threads/${threadId}`,
      `${REST}/outbound/webhook`,
    ]) {
      const headers = { authorization: `Bearer ${app.apiKey}`, 'accept-encoding': 'identity' };
      const full = await fetch(app.url + path, { headers });
      await full.arrayBuffer();
      const head = await fetch(app.url + path, { method: 'HEAD', headers });
      expect([path, head.status, await head.text()]).toEqual([path, 200, '']);
      for (const name of ['content-type', 'content-length']) {
        expect([path, head.headers.get(name)]).toEqual([path, full.headers.get(name)]);
      }
    }
  });

  it('answers HEAD of the event stream at once, and follows nothing for it', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    const wire = await Wire.open();
    const head = [`HEAD ${REST}/events HTTP/1.1`, 'Host: parley', `X-Api-Key: ${app.apiKey}`, '', ''];
    for (let count = 0; count < 100; count++) {
      wire.received = '';
      const { status, headers } = await wire.send(...head).answer({ isHead: true });
      expect([status, headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    }
    // A stream that is followed has a timer of its own, to keep it alive.
    await eventually(() => timers() < before + 50);
  });
});

describe('a path that is not there', () => {
  it('is 404 in the envelope, whatever the method and the body', async () => {
    const envelope = { error: { code: 'not_found', message: 'There is nothing at this path' } };
    for (const method of METHODS.filter((name) => name !== 'CONNECT' && name !== 'HEAD')) {
      const answer = await exchange(`${method} ${REST}/nowhere HTTP/1.1`, 'Host: parley', '', '');
      expect([method, answer.status, answer.body]).toEqual([method, 404, envelope]);
    }
    for (const path of ['/', '/graphql/', '/graphql/x', REST, `${REST}/`, '//healthz', '/healthz/..', '*']) {
      const answer = await exchange(`GET ${path} HTTP/1.1`, 'Host: parley', '', '');
      expect([path, answer.status, answer.body]).toEqual([path, 404, envelope]);
    }
    const posted = await app.operator.rest('POST', '/nowhere', '{ no JSON');
    expect([posted.status, posted.body]).toEqual([404, envelope]);
  });

  it('takes no body, however large', async () => {
    const head = ['POST /nowhere HTTP/1.1', 'Host: parley', 'Content-Type: application/json'];
    expect((await exchange(...head, `Content-Length: ${BIG}`, '', '{')).status).toBe(404);
  });
});

describe('what is hardly HTTP', () => {
  it.each(['/%', '/%zz', `${REST}/threads/%c3%28`, '/graphql%ff', '/%e0%a4%a'])(
    'gets a 400 that names the URL: %s',
    async (path) => {
      const { status, body, headers } = await exchange(
        `GET ${path} HTTP/1.1`,
        'Host: parley',
        'X-Request-Id: mine',
        '',
        '',
      );
      expect([status, body.error.details]).toEqual([400, [{ field: 'url', issue: 'is not a valid path' }]]);
      expect(headers.get('x-request-id')).toBe('mine');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
    },
  );

  const faults: [what: string, lines: string[], status: number, field: string][] = [
    ['no HTTP at all', ['Hello', '', ''], 400, 'request'],
    ['a header without a name', ['GET /healthz HTTP/1.1', 'Host: parley', ': x', '', ''], 400, 'request'],
    [
      'a length that is none',
      ['POST /healthz HTTP/1.1', 'Host: p', 'Content-Length: ten', '', ''],
      400,
      'request',
    ],
    [
      'two lengths',
      ['POST /healthz HTTP/1.1', 'Host: p', 'Content-Length: 2', 'Content-Length: 3', '', '{}'],
      400,
      'request',
    ],
    [
      'a length and chunks',
      ['POST /healthz HTTP/1.1', 'Host: p', 'Content-Length: 2', 'Transfer-Encoding: chunked', '', ''],
      400,
      'request',
    ],
    ['no host', ['GET /healthz HTTP/1.1', '', ''], 400, 'Host'],
    [
      'huge headers',
      ['GET /healthz HTTP/1.1', 'Host: p', `X: ${'x'.repeat(60_000)}`, '', ''],
      431,
      'headers',
    ],
    ['a huge URL', [`GET /${'x'.repeat(60_000)} HTTP/1.1`, 'Host: parley', '', ''], 431, 'headers'],
  ];
  it.each(faults)('is answered in the envelope, once, and ended: %s', async (_what, lines, status, field) => {
    const wire = await Wire.open();
    const answer = await wire.send(...lines).answer();
    expect(answer.status).toBe(status);
    expect(answer.body.error.code).toBe('invalid_request');
    expect(answer.body.error.details[0].field).toBe(field);
    expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
    if (field !== 'Host') await wire.closed();
    expect(wire.received.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(wire.received).not.toMatch(/\.[jt]s:\d+|node_modules/);
  });

  it('is a tunnel that nobody digs here: CONNECT', async () => {
    const answer = await exchange('CONNECT example.com:443 HTTP/1.1', 'Host: example.com', '', '');
    expect([answer.status, answer.body.error.code]).toEqual([405, 'method_not_allowed']);
    expect(answer.headers.get('allow')).toBe('GET, HEAD, POST, PUT, DELETE');
  });

  it('is chunks that stop making sense in the middle of a body', async () => {
    const wire = await Wire.open();
    const answer = await wire.send(...post('Transfer-Encoding: chunked', '', '2', '{}', 'zz', '')).answer();
    expect([answer.status, answer.body.error.code]).toEqual([400, 'invalid_request']);
    await wire.closed();
  });

  it('is an offer of HTTP/2 that is not taken up: the request is served as it is', async () => {
    const offer = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'];
    const got = await exchange('GET /healthz HTTP/1.1', 'Host: parley', ...offer, '', '');
    expect([got.status, got.body]).toEqual([200, { status: 'ok' }]);

    const body = JSON.stringify({ ...message, content: { body: 'x'.repeat(200_000) } });
    const wire = await Wire.open();
    wire.send(...post(...offer, `Content-Length: ${body.length}`, '', body.slice(0, 1_000)));
    wire.send(body.slice(1_000));
    const posted = await wire.answer();
    expect([posted.status, posted.body.messageId]).toEqual([200, expect.stringMatching(/^message_/)]);
    // The connection goes on.
    wire.received = '';
    wire.send('GET /healthz HTTP/1.1', 'Host: parley', '', '');
    expect((await wire.answer()).status).toBe(200);

    const elsewhere = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
    const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
    const lost = await exchange('GET /nowhere HTTP/1.1', 'Host: parley', ...elsewhere, key, '', '');
    expect([lost.status, lost.body.error.code]).toEqual([404, 'not_found']);
  });
});

describe('a body that is too large', () => {
  it('is refused by its Content-Length, before it is sent', async () => {
    const answer = await exchange(...post(`Content-Length: ${BIG}`, '', '{'));
    expect([answer.status, answer.body]).toEqual([413, TOO_LARGE]);
    expect(answer.headers.get('connection')).toBe('close');
  });

  it('is refused to who asks first: no "100 Continue"', async () => {
    const wire = await Wire.open();
    const answer = await wire
      .send(...post(`Content-Length: ${BIG}`, 'Expect: 100-continue', '', ''))
      .answer();
    expect([answer.status, answer.body]).toEqual([413, TOO_LARGE]);
    expect(wire.received).not.toContain('100 Continue');
  });

  it('is refused as soon as its chunks pass the limit', async () => {
    const wire = await Wire.open();
    const chunk = 'x'.repeat(65_536);
    wire.send(...post('Transfer-Encoding: chunked', '', ''));
    for (let sent = 0; sent <= LIMIT; sent += chunk.length) wire.send('10000', chunk, '');
    expect(await wire.answer()).toMatchObject({ status: 413, body: TOO_LARGE });
  });

  it.each(['Content-Length', 'Transfer-Encoding'])(
    'does not reset a client that reads only when it has sent everything (%s)',
    async (framing) => {
      const wire = await Wire.open();
      wire.socket.pause();
      wire.send(
        ...post(framing === 'Content-Length' ? `Content-Length: ${2 * BIG}` : `${framing}: chunked`, '', ''),
      );
      const chunk = Buffer.alloc(65_536, 'x');
      for (let sent = 0; sent < 2 * BIG; sent += chunk.length) {
        const part = chunk.subarray(0, 2 * BIG - sent);
        const framed =
          framing === 'Content-Length'
            ? part
            : Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]);
        if (!wire.socket.write(framed)) await Promise.race([once(wire.socket, 'drain'), wire.closed()]);
      }
      if (framing !== 'Content-Length') wire.send('0', '', '');
      wire.socket.resume();
      expect(await wire.answer()).toMatchObject({ status: 413, body: TOO_LARGE });
      await wire.closed();
      expect(wire.fault).toBeNull();
    },
  );

  const body = JSON.stringify({ ...message, content: { body: 'x'.repeat(BIG) } });

  it('is a 413 that fetch sees', async () => {
    const answer = await app.operator.rest('POST', '/inbound', body);
    expect([answer.status, answer.body]).toEqual([413, TOO_LARGE]);
  });

  it.each(['with its length', 'in chunks'])('is a 413 that http.request sees, sent %s', async (how) => {
    const request = httpRequest(`${app.url}${REST}/inbound`, {
      method: 'POST',
      headers: {
        'x-api-key': app.apiKey,
        'content-type': 'application/json',
        ...(how === 'with its length' && { 'content-length': body.length }),
      },
    });
    const answered = once(request, 'response') as Promise<[IncomingMessage]>;
    for (let start = 0; start < body.length; start += 100_000)
      request.write(body.slice(start, start + 100_000));
    request.end();
    const [answer] = await answered;
    const chunks: Buffer[] = await answer.toArray();
    expect([answer.statusCode, JSON.parse(Buffer.concat(chunks).toString())]).toEqual([413, TOO_LARGE]);
  });

  it.each([
    ['-H', 'Expect: 100-continue'],
    ['-H', 'Expect:'],
    ['-H', 'Transfer-Encoding: chunked'],
  ])('is a 413 that curl sees (%s %s)', async (...options) => {
    const running = execute('curl', [
      ...['-s', '-S', '-w', '\n%{http_code}', '-X', 'POST', `${app.url}${REST}/inbound`],
      ...['-H', `X-Api-Key: ${app.apiKey}`, '-H', 'Content-Type: application/json'],
      ...options,
      ...['--data-binary', '@-'],
    ]);
    running.child.stdin?.on('error', () => {});
    running.child.stdin?.end(body);
    const [answer = '', status] = (await running).stdout.split('\n');
    expect([status, JSON.parse(answer)]).toEqual(['413', TOO_LARGE]);
  });

  it('is no concern of a stranger, who is refused before', async () => {
    const head = [`POST ${REST}/inbound HTTP/1.1`, 'Host: parley', 'Content-Type: application/json'];
    const answer = await exchange(...head, `Content-Length: ${BIG}`, '', '{');
    expect([answer.status, answer.body.error.code]).toEqual([401, 'unauthorized']);
    expect(answer.headers.get('connection')).toBe('close');
  });
});

describe('a body', () => {
  it('of just under 10 MB is taken, also from who asks first', async () => {
    const body = JSON.stringify({ ...message, content: { body: 'x'.repeat(LIMIT - 1_000) } });
    const wire = await Wire.open();
    wire.send(...post(`Content-Length: ${body.length}`, 'Expect: 100-continue', '', ''));
    await eventually(() => wire.received.startsWith('HTTP/1.1 100 Continue'));
    wire.send(body);
    expect((await wire.answer()).status).toBe(200);
  });

  it('is not asked for from a stranger', async () => {
    const wire = await Wire.open();
    const head = [`POST ${REST}/inbound HTTP/1.1`, 'Host: parley', 'X-Api-Key: nobody'];
    const answer = await wire.send(...head, 'Content-Length: 2', 'Expect: 100-continue', '', '').answer();
    expect(answer.status).toBe(401);
    expect(wire.received).not.toContain('100 Continue');
  });

  it('that is compressed is a 400 naming the header', async () => {
    for (const encoding of ['gzip', 'deflate', 'br', 'zstd', 'gzip, identity']) {
      const answer = await fetch(`${app.url}${REST}/inbound`, {
        method: 'POST',
        headers: {
          'x-api-key': app.apiKey,
          'content-type': 'application/json',
          'content-encoding': encoding,
        },
        body: gzipSync(JSON.stringify(message)),
      });
      expect(answer.status).toBe(400);
      expect(await answer.json()).toEqual({
        error: {
          code: 'invalid_request',
          message: 'The request was invalid',
          details: [{ field: 'Content-Encoding', issue: 'must be identity' }],
        },
      });
    }
    const headers = { 'Content-Encoding': 'identity' };
    expect((await app.operator.rest('POST', '/inbound', message, headers)).status).toBe(200);
    const graphql = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: {
        'x-api-key': app.apiKey,
        'content-type': 'application/json',
        'content-encoding': 'gzip',
      },
      body: gzipSync('{"query":"{__typename}"}'),
    });
    expect(graphql.status).toBe(400);
    expect(((await graphql.json()) as { errors: object[] }).errors[0]).toMatchObject({
      extensions: { code: 'BAD_USER_INPUT', details: [{ field: 'Content-Encoding' }] },
    });
  });
});

describe('a stop', () => {
  it('still serves what is on its way on an open connection, and ends that then', async () => {
    const parley = await startApp();
    const onItsWay = await Wire.open(parley.url);
    const kept = await Wire.open(parley.url);
    kept.send('GET /healthz HTTP/1.1', 'Host: parley', '', '');
    expect((await kept.answer()).headers.get('connection')).toBe('keep-alive');
    onItsWay.send(`GET ${REST}/threads HTTP/1.1`, 'Host: parley', '');
    // Answered on the second connection, so what was sent before on the first has arrived.
    expect((await fetch(`${parley.url}/healthz`)).status).toBe(200);

    const closed = parley.close();
    await kept.closed();
    onItsWay.send(`X-Api-Key: ${parley.apiKey}`, '', '');
    const answer = await onItsWay.answer();
    expect([answer.status, answer.body.threads]).toEqual([200, []]);
    expect(answer.headers.get('connection')).toBe('close');
    await onItsWay.closed();
    await closed;
  });

  it('does not wait for a client that was refused and sends on', async () => {
    const parley = await startApp();
    const wire = await Wire.open(parley.url);
    wire.send('POST /nowhere HTTP/1.1', 'Host: parley', `Content-Length: ${BIG}`, '', '{');
    expect((await wire.answer()).status).toBe(404);
    const start = performance.now();
    await parley.close();
    expect(performance.now() - start).toBeLessThan(3_000);
    await wire.closed();
  });
});
