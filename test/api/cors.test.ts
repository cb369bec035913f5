import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { parseConfig } from '../../src/config.js';
import { REST, startApp, startAppForTest, type TestApp } from '../support/app.js';

const DASHBOARD = 'https://dashboard.example';
const LOCAL = 'http://localhost:5173';
const FOREIGN = 'https://elsewhere.example';

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ corsOrigins: [DASHBOARD, LOCAL], rateLimitPerMinute: 50 });
});
afterAll(() => app.close());

const preflight = (url: string, origin: string, method = 'POST') =>
  fetch(url, {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': method,
      'access-control-request-headers': 'authorization,content-type',
    },
  });

const list = (answer: Response, header: string) =>
  (answer.headers.get(header) ?? '').split(/, */).map((name) => name.toLowerCase());

/** What becomes of an attempt to open a WebSocket: `open`, or the status that refuses it. */
async function openWebSocket(url: string, headers: Record<string, string>): Promise<'open' | number> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', { headers });
  socket.on('error', () => {});
  const refused = once(socket, 'unexpected-response').then(
    ([, answer]: IncomingMessage[]) => answer!.statusCode!,
  );
  const opened = once(socket, 'open').then(() => 'open' as const);
  const outcome = await Promise.race([opened, refused]);
  void Promise.allSettled([opened, refused]);
  socket.terminate();
  return outcome;
}

describe('CORS', () => {
  it.each([`${REST}/inbound`, `${REST}/threads/x`, '/graphql', `${REST}/events`, '/openapi.json'])(
    'answers the preflight of %s without a credential',
    async (path) => {
      for (const origin of [DASHBOARD, LOCAL]) {
        const answer = await preflight(app.url + path, origin);
        expect(answer.status).toBe(204);
        expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
        expect(list(answer, 'vary')).toContain('origin');
        expect(list(answer, 'access-control-allow-methods')).toEqual([
          'get',
          'head',
          'post',
          'put',
          'delete',
        ]);
        expect(list(answer, 'access-control-allow-headers')).toEqual(
          expect.arrayContaining([
            'authorization',
            'x-api-key',
            'content-type',
            'idempotency-key',
            'last-event-id',
            'x-request-id',
            'range',
            'if-none-match',
            'apollo-require-preflight',
          ]),
        );
        expect(answer.headers.has('access-control-allow-credentials')).toBe(false);
      }
    },
  );

  it('lets pages of a listed origin read every answer, faults included', async () => {
    const { operator, url } = app;
    const authorization = `Bearer ${operator.apiKey}`;
    const json = { authorization, 'content-type': 'application/json' };
    const exhausted = await app.tenant();
    await Promise.all(Array.from({ length: 50 }, () => exhausted.rest('GET', '/threads')));
    const requests: [status: number, path: string, init: RequestInit][] = [
      [200, '/healthz', {}],
      [200, `${REST}/threads`, { headers: { authorization } }],
      [200, '/graphql', { method: 'POST', headers: json, body: '{"query":"{__typename}"}' }],
      [400, `${REST}/inbound`, { method: 'POST', headers: json, body: '{' }],
      [400, `${REST}/threads/%zz`, { headers: { authorization } }],
      [400, '/graphql', { method: 'POST', headers: json, body: '{"query":"{ nothing }"}' }],
      [401, `${REST}/threads`, {}],
      [401, '/graphql', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }],
      [404, `${REST}/threads/x`, { headers: { authorization } }],
      [404, '/nowhere', {}],
      [405, `${REST}/inbound`, { headers: { authorization } }],
      [405, '/graphql', { method: 'PUT', headers: { authorization } }],
      [413, `${REST}/inbound`, { method: 'POST', headers: json, body: `"${'x'.repeat(11_000_000)}"` }],
      [429, `${REST}/threads`, { headers: { authorization: `Bearer ${exhausted.apiKey}` } }],
    ];
    for (const [status, path, init] of requests) {
      for (const origin of [DASHBOARD, FOREIGN]) {
        const answer = await fetch(url + path, {
          ...init,
          headers: { ...(init.headers as Record<string, string>), origin },
        });
        await answer.arrayBuffer();
        expect([path, answer.status]).toEqual([path, status]);
        const allowed = answer.headers.get('access-control-allow-origin');
        expect([path, status, allowed]).toEqual([path, status, origin === DASHBOARD ? DASHBOARD : null]);
        expect(list(answer, 'access-control-expose-headers')).toEqual(
          expect.arrayContaining([
            'x-request-id',
            'x-event-cursor',
            'retry-after',
            'ratelimit-limit',
            'ratelimit-remaining',
            'ratelimit-reset',
            'etag',
            'content-disposition',
            'content-range',
          ]),
        );
      }
    }
  });

  it('lets a page of another origin have nothing', async () => {
    for (const origin of [FOREIGN, 'null', `${DASHBOARD}.elsewhere.example`, 'http://dashboard.example']) {
      const answer = await preflight(`${app.url}${REST}/inbound`, origin);
      expect(answer.headers.get('access-control-allow-origin')).toBeNull();
    }
  });

  it('leaves OPTIONS that is no preflight what it is: no method of that path', async () => {
    const answer = await fetch(`${app.url}${REST}/inbound`, {
      method: 'OPTIONS',
      headers: { origin: LOCAL, 'x-api-key': app.apiKey },
    });
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST']);
    expect((await fetch(`${app.url}/nowhere`, { method: 'OPTIONS' })).status).toBe(404);
  });

  it('is off when nothing is listed', async () => {
    const closed = await startAppForTest();
    const answer = await preflight(`${closed.url}${REST}/inbound`, DASHBOARD);
    expect(answer.status).toBe(401);
    const names = [...answer.headers.keys()];
    expect(names.filter((name) => name.startsWith('access-control'))).toEqual([]);
    expect(await openWebSocket(closed.url, { origin: DASHBOARD })).toBe(403);
  });

  it('is open to every page with *', async () => {
    const open = await startAppForTest({ corsOrigins: ['*'] });
    const answer = await preflight(`${open.url}${REST}/inbound`, FOREIGN);
    expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([204, '*']);
    expect(await openWebSocket(open.url, { origin: FOREIGN })).toBe('open');
    expect(await openWebSocket(open.url, { origin: 'null' })).toBe('open');
  });
});

describe('a WebSocket', () => {
  it('is opened from this server, from a listed origin, and from what is no browser', async () => {
    expect(await openWebSocket(app.url, {})).toBe('open');
    expect(await openWebSocket(app.url, { origin: app.url })).toBe('open');
    expect(await openWebSocket(app.url, { origin: DASHBOARD })).toBe('open');
    expect(await openWebSocket(app.url, { origin: 'https://parley.example', host: 'parley.example' })).toBe(
      'open',
    );
  });

  it('is refused to a page of any other origin, before the handshake', async () => {
    for (const origin of [FOREIGN, 'null', 'http://127.0.0.1:1', `${DASHBOARD}:8443`, 'garbage', '']) {
      expect([origin, await openWebSocket(app.url, { origin })]).toEqual([origin, 403]);
    }
  });

  it('is opened from PUBLIC_URL behind a proxy that does not pass the host on', async () => {
    const proxied = await startAppForTest({ publicUrl: 'https://parley.example/chat' });
    expect(await openWebSocket(proxied.url, { origin: 'https://parley.example' })).toBe('open');
    expect(await openWebSocket(proxied.url, { origin: 'http://parley.example' })).toBe(403);
  });
});

describe('CORS_ORIGINS', () => {
  it('is a list of exact origins, or *', () => {
    expect(parseConfig({}).corsOrigins).toEqual([]);
    expect(parseConfig({ CORS_ORIGINS: `${DASHBOARD}, ${LOCAL}` }).corsOrigins).toEqual([DASHBOARD, LOCAL]);
    expect(parseConfig({ CORS_ORIGINS: '*' }).corsOrigins).toEqual(['*']);
  });

  it.each([
    'dashboard.example',
    'https://dashboard.example/',
    'https://Dashboard.example',
    'https://dashboard.example:443',
    'https://*.example',
    `*,${DASHBOARD}`,
    'null',
    'ftp://dashboard.example',
    `${DASHBOARD},,${LOCAL}`,
  ])('is refused as %s', (origins) => {
    expect(() => parseConfig({ CORS_ORIGINS: origins })).toThrow('CORS_ORIGINS: must be * or origins');
  });
});
