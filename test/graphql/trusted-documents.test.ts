import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import { type Client, startApp, startAppForTest, type TestApp } from '../support/app.js';
import { eventually } from '../support/receiver.js';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

const viewer = 'query Viewer { viewer { tenantId } }';
const threads = 'query Threads($first: Int) { threads(first: $first) { edges { node { id } } } }';
const live = 'subscription Live { messageAdded { cursor } }';
const unlisted = '{ eventCursor }';

let directory: string;
async function manifestFile(name: string, content: unknown): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

let app: TestApp;
let client: Client;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'parley-manifest-'));
  const manifest = { [sha256(viewer)]: viewer, threads, live };
  app = await startApp({ trustedDocuments: await manifestFile('documents.json', manifest) });
  // Making a tenant takes documents that are not listed.
  client = app.operator;
});
afterAll(async () => {
  await app.close();
  await rm(directory, { recursive: true });
});

/** Sends one operation over a WebSocket and answers with the first message about it. */
async function overWebSocket(url: string, { apiKey }: Client, payload: object) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  onTestFinished(() => socket.terminate());
  // biome-ignore lint/suspicious/noExplicitAny: tests look at answers freely
  const messages: any[] = [];
  socket.on('message', (data) => messages.push(JSON.parse(String(data))));
  socket.on('open', () =>
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${apiKey}` } })),
  );
  await eventually(() => messages.length === 1);
  socket.send(JSON.stringify({ type: 'subscribe', id: '1', payload }));
  return {
    first: async () => {
      await eventually(() => messages.length > 1);
      return messages[1];
    },
  };
}

const post = (caller: Client, body: object) => caller.rest('POST', '/../../../graphql', body);
const get = (caller: Client, parameters: Record<string, string>) =>
  caller.rest('GET', `/../../../graphql?${new URLSearchParams(parameters)}`);

describe('a listed document', () => {
  const persistedQuery = { version: 1, sha256Hash: sha256(viewer) };
  it.each([
    ['in full', { query: viewer }],
    ['by documentId', { query: '', documentId: sha256(viewer) }],
    ['by id', { query: '', id: sha256(viewer) }],
    ['by the hash of a persisted query', { query: '', extensions: { persistedQuery } }],
    ['with the hash of a persisted query and in full', { query: viewer, extensions: { persistedQuery } }],
  ])('runs when it is named %s, on both transports', async (_way, payload) => {
    const answer = await post(client, payload);
    expect(answer.status).toBe(200);
    expect(answer.body.data.viewer.tenantId).toBe(client.tenantId);
    const message = await (await overWebSocket(app.url, client, payload)).first();
    expect(message).toMatchObject({
      type: 'next',
      payload: { data: { viewer: { tenantId: client.tenantId } } },
    });
  });

  it('runs by an id that is no hash, with variables', async () => {
    const answer = await post(client, { documentId: 'threads', variables: { first: 3 } });
    expect(answer.body).toMatchObject({
      data: { threads: { edges: [] } },
      extensions: { cost: { requested: 7 } },
    });
  });

  it('runs over GET', async () => {
    const ways: Record<string, string>[] = [
      { documentId: 'threads', variables: '{"first":3}' },
      { query: threads, variables: '{"first":3}' },
      { extensions: JSON.stringify({ persistedQuery: { version: 1, sha256Hash: sha256(threads) } }) },
    ];
    for (const parameters of ways) {
      const answer = await get(client, parameters);
      expect(answer.status).toBe(200);
      expect(answer.body.data.threads.edges).toEqual([]);
    }
  });

  it('runs as a subscription', async () => {
    const following = await overWebSocket(app.url, client, { query: '', documentId: 'live' });
    // What follows the subscription's start is seen; what is stored before it began is not.
    const store = () =>
      client.rest('POST', '/inbound', {
        workflowId: 'w',
        participantId: 'p',
        channel: 'chat',
        channelKey: 'p',
        content: { body: 'Hello' },
      });
    let message: unknown;
    void following.first().then((first) => {
      message = first;
    });
    await eventually(async () => {
      await store();
      return message !== undefined;
    });
    expect(message).toMatchObject({ type: 'next', payload: { data: { messageAdded: {} } } });
  });

  it('needs a key like any other', async () => {
    expect((await post(app.client('nobody'), { documentId: 'threads' })).status).toBe(401);
  });
});

describe('anything else', () => {
  const hash = sha256(unlisted);
  it.each([
    ['a document that is not listed', { query: unlisted }, 'DOCUMENT_NOT_TRUSTED'],
    ['a listed one with another space', { query: `${viewer} ` }, 'DOCUMENT_NOT_TRUSTED'],
    ['another one under a listed id', { query: unlisted, documentId: 'threads' }, 'DOCUMENT_NOT_TRUSTED'],
    ['an id that is not listed', { query: '', documentId: 'nope' }, 'PERSISTED_QUERY_NOT_FOUND'],
    ['a name that every object has', { query: '', documentId: 'constructor' }, 'PERSISTED_QUERY_NOT_FOUND'],
    [
      'a hash that is not listed',
      { query: '', extensions: { persistedQuery: { version: 1, sha256Hash: hash } } },
      'PERSISTED_QUERY_NOT_FOUND',
    ],
    [
      'a persisted query to be registered',
      { query: unlisted, extensions: { persistedQuery: { version: 1, sha256Hash: hash } } },
      'DOCUMENT_NOT_TRUSTED',
    ],
    ['introspection', { query: '{ __schema { queryType { name } } }' }, 'DOCUMENT_NOT_TRUSTED'],
    ['no document at all', { query: '' }, 'DOCUMENT_NOT_TRUSTED'],
  ])('is refused on both transports: %s', async (_case, payload, code) => {
    for (let time = 0; time < 2; time++) {
      const { status, body } = await post(client, payload);
      expect(status).toBe(400);
      expect(body.errors).toMatchObject([{ extensions: { code } }]);
      expect(body.data).toBeUndefined();
    }
    const message = await (await overWebSocket(app.url, client, payload)).first();
    expect(message).toMatchObject({ type: 'error', payload: [{ extensions: { code } }] });
  });

  it('is refused over GET and as an array', async () => {
    expect((await get(client, { query: unlisted })).body.errors[0].extensions.code).toBe(
      'DOCUMENT_NOT_TRUSTED',
    );
    expect((await post(client, [{ query: viewer }])).status).toBe(400);
  });

  it('has no GraphiQL', async () => {
    const page = await fetch(`${app.url}/graphql`, { headers: { accept: 'text/html' } });
    expect(page.status).toBe(404);
    expect(await page.text()).toMatch(/trusted documents only/);
  });
});

describe('the manifest', () => {
  it("may be that of Apollo's tools", async () => {
    const path = await manifestFile('apollo.json', {
      format: 'apollo-persisted-query-manifest',
      version: 1,
      operations: [{ id: 'abc', name: 'Viewer', type: 'query', body: viewer }],
    });
    const other = await startAppForTest({ trustedDocuments: path });
    const answer = await post(other.operator, { documentId: 'abc' });
    expect(answer.status).toBe(200);
  });

  it.each([
    ['is not there', null, /nowhere\.json cannot be read \(ENOENT\)/],
    ['is no JSON', '{', /is not a JSON object of documents by their ids/],
    ['is a list', [viewer], /is not a JSON object of documents by their ids/],
    ['has a syntax error', { a: '{' }, /the document "a" is not valid: Syntax Error/],
    [
      'asks for what there is not',
      { a: viewer, b: '{ nope }' },
      /the document "b" is not valid: Cannot query field/,
    ],
    [
      'is past a limit',
      { a: `{ ${'eventCursor '.repeat(60)} }` },
      /the document "a" is not valid: The document has more than 50 fields/,
    ],
  ])('stops the start when it %s', async (_case, content, message) => {
    const path =
      content === null ? join(directory, 'nowhere.json') : await manifestFile('faulty.json', content);
    await expect(startAppForTest({ trustedDocuments: path })).rejects.toThrow(message);
  });
});
