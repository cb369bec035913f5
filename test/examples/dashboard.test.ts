import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import { type Parley, request } from '../../examples/dashboard/client.js';
import { readConversation, sendReply } from '../../examples/dashboard/conversation.js';
import { ParleyError, unreachable } from '../../examples/dashboard/errors.js';
import { follow } from '../../examples/dashboard/follow.js';
import {
  EventCursorDocument,
  InboxChangesDocument,
  type InboxChangesSubscription,
  type InboxChangesSubscriptionVariables,
  InboxDocument,
  SendReplyDocument,
  TypedDocumentString,
} from '../../examples/dashboard/generated/documents.js';
import { createInbox, type Inbox, type InboxChange } from '../../examples/dashboard/inbox.js';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { eventually } from '../support/receiver.js';
import { startWire } from '../support/wire.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dashboard = `${root}/examples/dashboard`;

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const parleyOf = (client: Client, url = app.url): Parley => ({
  url,
  apiKey: client.apiKey,
  webSocketImpl: WebSocket,
});

/** What the participant says; answers with the thread. */
async function say(client: Client, participantId: string, body: string): Promise<string> {
  const { status, body: answer } = await client.rest('POST', '/inbound', {
    workflowId: 'workflow_1',
    participantId,
    channel: 'chat',
    channelKey: participantId,
    content: { body },
  });
  expect(status).toBe(200);
  return answer.threadId;
}

interface Watched {
  readonly inbox: Inbox;
  readonly changes: InboxChange[];
  readonly loads: () => number;
  readonly isLive: () => boolean;
  /** When `follow` has ended, and how. */
  readonly ended: Promise<unknown>;
  leave(): void;
}

/** An inbox that is followed until the test ends. */
function watch(parley: Parley, size?: number): Watched {
  const inbox = createInbox(parley, size);
  const leaving = new AbortController();
  const changes: InboxChange[] = [];
  let loads = 0;
  let isLive = false;
  onTestFinished(() => leaving.abort());
  const ended = inbox.follow(
    (change) => {
      if (change) changes.push(change);
      else loads++;
    },
    {
      signal: leaving.signal,
      onConnection(isUp) {
        isLive = isUp;
      },
    },
  );
  return {
    inbox,
    changes,
    loads: () => loads,
    isLive: () => isLive,
    ended: ended.catch((error: unknown) => error),
    leave: () => leaving.abort(),
  };
}

const serverThreads = async (parley: Parley, size = 50) =>
  (await request(parley, InboxDocument, { size })).threads.edges.map(({ node }) => node);

/** The numbers of the dashboard's events in the tenant's log. */
async function loggedSequences(client: Client): Promise<number[]> {
  const types = ['MESSAGE_CREATED', 'MESSAGE_UPDATED', 'THREAD_UPDATED', 'THREAD_DELETED'];
  const sequences: number[] = [];
  for (let after = 'start', hasMore = true; hasMore; ) {
    const { events } = await client.data(
      `query ($after: String, $filter: EventFilter) {
        events(after: $after, filter: $filter, first: 100) { events { sequence } nextCursor hasMore }
      }`,
      { after, filter: { types } },
    );
    sequences.push(...events.events.map(({ sequence }: { sequence: number }) => sequence));
    ({ nextCursor: after, hasMore } = events);
  }
  return sequences;
}

describe('the inbox', () => {
  it('has what is there, and shows what comes: the last changed thread first, with its unread messages', async () => {
    const client = await app.tenant();
    await say(client, 'ada', 'One');
    await say(client, 'grace', 'Two');
    const { inbox, isLive } = watch(parleyOf(client));
    await eventually(isLive);
    const rows = () =>
      inbox.threads.map((row) => [row.participantId, row.unreadCount, row.lastMessage?.content.body]);
    expect(rows()).toEqual([
      ['grace', 1, 'Two'],
      ['ada', 1, 'One'],
    ]);

    await say(client, 'ada', 'Three');
    await say(client, 'alan', 'Four');

    await eventually(() => inbox.threads.length === 3);
    expect(rows()).toEqual([
      ['alan', 1, 'Four'],
      ['ada', 2, 'Three'],
      ['grace', 1, 'Two'],
    ]);
  });

  it('follows statuses: of the thread, and of its last message', async () => {
    const client = await app.tenant();
    const threadId = await say(client, 'ada', 'One');
    const { inbox, isLive } = watch(parleyOf(client));
    await eventually(isLive);

    const { messageId } = (await client.rest('POST', '/outbound', { threadId, content: { body: 'Two' } }))
      .body;
    await client.rest('PUT', `/messages/${messageId}/status`, { status: 'read' });
    await client.rest('PUT', `/threads/${threadId}`, { status: 'closed' });

    await eventually(() => inbox.threads[0]?.status === 'CLOSED');
    expect(inbox.threads[0]?.lastMessage).toMatchObject({ content: { body: 'Two' }, status: 'READ' });
  });

  it('marks a thread as read, which counts from there on', async () => {
    const client = await app.tenant();
    await say(client, 'ada', 'One');
    await say(client, 'ada', 'Two');
    const { inbox, isLive } = watch(parleyOf(client));
    await eventually(isLive);

    await inbox.markRead(inbox.threads[0]!);
    expect(inbox.threads[0]).toMatchObject({ messageCount: 2, unreadCount: 0 });
    expect(await serverThreads(parleyOf(client))).toEqual(inbox.threads);

    await say(client, 'ada', 'Three');
    await eventually(() => inbox.threads[0]?.messageCount === 3);
    expect(inbox.threads[0]?.unreadCount).toBe(1);
  });

  it('stays the first page when threads come, move and are deleted', async () => {
    const client = await app.tenant();
    const parley = parleyOf(client);
    for (const name of ['a', 'b', 'c', 'd']) await say(client, name, 'Hello');
    const { inbox, isLive } = watch(parley, 3);
    await eventually(isLive);
    const names = () => inbox.threads.map(({ participantId }) => participantId).join('');
    expect(names()).toBe('dcb');

    await say(client, 'e', 'Hello');
    await eventually(() => names() === 'edc');
    const b = await say(client, 'b', 'Again');
    await eventually(() => names() === 'bed');

    await client.rest('DELETE', `/threads/${b}?permanent=true`);
    await eventually(() => names() === 'edc');
    expect(inbox.threads).toEqual(await serverThreads(parley, 3));
  });

  it('misses nothing and repeats nothing of 200 messages while its connection is cut five times', {
    timeout: 60_000,
  }, async () => {
    const client = await app.tenant();
    const wire = await startWire(app.url);
    const parley = parleyOf(client, wire.url);
    const { inbox, changes, isLive, loads } = watch(parley);
    await eventually(isLive);

    for (let count = 1; count <= 200; count++) {
      await say(client, `participant_${count % 7}`, `Message ${count}`);
      if (count % 40 === 20) wire.cut();
      if (count % 40 === 0) await eventually(isLive, { describe: () => 'the connection to be made again' });
    }

    const logged = await loggedSequences(client);
    expect(logged.length).toBe(200);
    await eventually(() => changes.at(-1)?.sequence === logged.at(-1));
    expect(changes.map(({ sequence }) => sequence)).toEqual(logged);
    expect(inbox.threads).toEqual(await serverThreads(parley));
    expect(loads()).toBe(1);
  });

  it('goes on when its connection has died without a word', { timeout: 60_000 }, async () => {
    const client = await app.tenant();
    const wire = await startWire(app.url);
    const { inbox, isLive, loads } = watch(parleyOf(client, wire.url));
    await eventually(isLive);
    wire.freeze();
    await say(client, 'ada', 'Hello');

    await eventually(() => inbox.threads.length === 1, { timeoutMs: 40_000 });
    expect(loads()).toBe(1);
  });

  it('begins anew when its cursor has expired', async () => {
    const client = await app.tenant();
    const wire = await startWire(app.url);
    let isExpired = false;
    /** Answers the next subscription as Parley does when it no longer has what is behind the cursor. */
    class ForgetfulWebSocket extends WebSocket {
      override send(data: string) {
        const { type, id } = JSON.parse(data);
        if (type !== 'subscribe' || !isExpired) return super.send(data);
        isExpired = false;
        const fault = { message: 'The cursor has expired', extensions: { code: 'CURSOR_EXPIRED' } };
        const answer = JSON.stringify({ type: 'error', id, payload: [fault] });
        queueMicrotask(() => this.emit('message', Buffer.from(answer), false));
      }
    }
    const { inbox, isLive, loads } = watch({
      ...parleyOf(client, wire.url),
      webSocketImpl: ForgetfulWebSocket,
    });
    await eventually(isLive);
    isExpired = true;
    wire.cut();
    await say(client, 'ada', 'Hello');

    await eventually(() => loads() === 2);
    expect(inbox.threads.map(({ participantId }) => participantId)).toEqual(['ada']);
    await eventually(isLive);
    await say(client, 'grace', 'Hello');
    await eventually(() => inbox.threads.length === 2);
  });

  it('ends when it is told to, also while the server is away', async () => {
    const client = await app.tenant();
    const wire = await startWire(app.url);
    const { isLive, ended, leave } = watch(parleyOf(client, wire.url));
    await eventually(isLive);
    wire.cut();
    await eventually(() => !isLive());

    leave();

    expect(await ended).toBeUndefined();
  });

  it('ends when it is told to, also while the server says nothing', async () => {
    const server = createServer(() => {}).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    const connected = once(server, 'connection');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const parley = { url: `http://127.0.0.1:${port}`, apiKey: 'parley_any', webSocketImpl: WebSocket };
    const leaving = new AbortController();
    const followed = follow(parley, InboxChangesDocument, { after: 'start' }, () => {}, leaving);
    const [socket] = await connected;
    onTestFinished(() => socket.destroy());

    leaving.abort();

    await expect(followed).resolves.toBeUndefined();
  });
});

describe('a refused key', () => {
  const unauthenticated = expect.objectContaining({
    name: 'ParleyError',
    code: 'UNAUTHENTICATED',
    message: expect.stringMatching(/\w+ \w+/),
  });

  it('ends the inbox before it has begun', async () => {
    const { ended } = watch({ url: app.url, apiKey: 'parley_nobody', webSocketImpl: WebSocket });
    expect(await ended).toEqual(unauthenticated);
  });

  it('ends the inbox when it is revoked', async () => {
    const client = await app.tenant();
    const parley = parleyOf(client);
    const revoked = await client.data(
      'mutation { createApiKey(input: {name: "dashboard", scopes: ["conversations:read"]}) { secret apiKey { id } } }',
    );
    const { isLive, ended } = watch({ ...parley, apiKey: revoked.createApiKey.secret });
    await eventually(isLive);

    await client.data('mutation ($input: IdInput!) { revokeApiKey(input: $input) { apiKey { id } } }', {
      input: { id: revoked.createApiKey.apiKey.id },
    });
    let error: unknown;
    void ended.then((reason) => (error = reason));
    await eventually(async () => {
      await say(client, 'ada', 'Are you there?');
      return error !== undefined;
    });
    expect(error).toEqual(unauthenticated);
  });

  it('is told from a lost connection by its close code', async () => {
    const parley = { url: app.url, apiKey: 'parley_nobody', webSocketImpl: WebSocket };
    const { signal } = new AbortController();
    const followed = follow(parley, InboxChangesDocument, { after: 'start' }, () => {}, { signal });
    await expect(followed).rejects.toEqual(unauthenticated);
  });
});

describe('a conversation', () => {
  it('is read, and replied to on the channel that it came by', async () => {
    const client = await app.tenant();
    const parley = parleyOf(client);
    const threadId = await say(client, 'ada', 'Hello');

    await sendReply(parley, threadId, { body: 'Hello, Ada' });

    const messages = await readConversation(parley, threadId);
    expect(messages?.map(({ direction, channel, content }) => [direction, channel, content.body])).toEqual([
      ['INBOUND', 'chat', 'Hello'],
      ['OUTBOUND', 'chat', 'Hello, Ada'],
    ]);
  });

  it('gets a reply once when only the answer was lost', async () => {
    const client = await app.tenant();
    const threadId = await say(client, 'ada', 'Hello');
    const wire = await startWire(app.url);
    wire.loseNextAnswer();

    const { id } = await sendReply(parleyOf(client, wire.url), threadId, { body: 'Hello, Ada' });

    const messages = await readConversation(parleyOf(client), threadId);
    expect(messages).toHaveLength(2);
    expect(messages?.at(-1)?.id).toBe(id);
  });

  it('is null when it is gone', async () => {
    const parley = parleyOf(await app.tenant());
    expect(await readConversation(parley, 'thread_01h455vb4pex5vsknk084sn02q')).toBeNull();
  });
});

describe('what goes wrong', () => {
  it('has a code, the faulty fields, and the id of the request', async () => {
    const parley = parleyOf(await app.tenant());
    const error = await request(parley, SendReplyDocument, { input: { content: {} } }).catch(
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(ParleyError);
    expect(error).toMatchObject({
      code: 'BAD_USER_INPUT',
      details: expect.arrayContaining([{ field: expect.any(String), issue: expect.any(String) }]),
      requestId: expect.stringMatching(/.+/),
    });
  });

  it('brings an event again when the server was away while it was worked on', async () => {
    const client = await app.tenant();
    await say(client, 'ada', 'One');
    await say(client, 'ada', 'Two');
    const seen: number[] = [];
    const leaving = new AbortController();
    const work = ({ sequence }: InboxChange) => {
      seen.push(sequence);
      if (seen.length === 1) throw unreachable('No answer');
      if (seen.length === 3) leaving.abort();
    };

    await follow(parleyOf(client), InboxChangesDocument, { after: 'start' }, work, leaving);

    const [first, second] = await loggedSequences(client);
    expect(seen).toEqual([first, first, second]);
  });

  it('is UNREACHABLE when nobody answers', async () => {
    const asked = request({ url: 'http://127.0.0.1:9', apiKey: 'parley_any' }, EventCursorDocument, {});
    await expect(asked).rejects.toMatchObject({ name: 'ParleyError', code: 'UNREACHABLE' });
  });

  it('ends what is followed when a part of an event is refused, instead of taking it for absent', async () => {
    const client = await app.tenant();
    await say(client, 'ada', 'Hello');
    const reader = await app.keyFor(client, ['conversations:read']);
    const document = new TypedDocumentString<InboxChangesSubscription, InboxChangesSubscriptionVariables>(
      'subscription ($after: String!) { events(after: $after) { cursor message { signal { id } } } }',
    );
    const { signal } = new AbortController();
    const followed = follow(parleyOf(reader), document, { after: 'start' }, () => {}, { signal });
    await expect(followed).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  it('ends what is followed when waiting would not help', async () => {
    const parley = parleyOf(await app.tenant());
    const { signal } = new AbortController();
    const followed = follow(parley, InboxChangesDocument, { after: 'nonsense' }, () => {}, { signal });
    await expect(followed).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
      details: [{ field: 'after', issue: 'is not a cursor of this log' }],
    });
  });
});

describe('the terminal', () => {
  /** Runs the dashboard until the test ends. */
  function run(env: Record<string, string>) {
    const child = spawn(process.execPath, ['--import', 'tsx', `${dashboard}/main.ts`], {
      env: { PATH: process.env.PATH, ...env },
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const said = { out: '', err: '' };
    child.stdout.on('data', (chunk) => (said.out += chunk));
    child.stderr.on('data', (chunk) => (said.err += chunk));
    return { child, said, exited: once(child, 'exit') };
  }

  it('shows the inbox, opens a conversation, replies, and leaves', async () => {
    const client = await app.tenant();
    await say(client, 'ada', 'Hello \u001b[2Jthere');
    await say(client, 'ada', 'Anyone?');
    const { child, said, exited } = run({ PARLEY_URL: app.url, PARLEY_API_KEY: client.apiKey });
    const screens = () => said.out.split(/^(?=Parley · )/m);
    const shows = (text: string) =>
      eventually(() => screens().at(-1)!.includes(text), { describe: () => `"${text}" in ${said.out}` });

    await shows('1 conversations · 2 unread · live');
    expect(screens()[1]).toMatch(/^ {2}1 \(2\) {3}ada +active +→ Anyone\?$/m);

    child.stdin.write('1\n');
    await shows('── ada ──');
    await shows('0 unread');
    expect(screens().at(-1)).toMatch(/^\d\d:\d\d:\d\d → Hello {2}\[2Jthere$/m);

    child.stdin.write('Here I am\n');
    await shows('← Here I am [sent]');
    const [thread] = await serverThreads(parleyOf(client));
    expect(thread?.lastMessage).toMatchObject({ direction: 'OUTBOUND', content: { body: 'Here I am' } });

    child.stdin.end();
    expect(await exited).toEqual([0, null]);
    expect(said.err).toBe('');
  });

  it('says in a line why it cannot begin', async () => {
    const { said, exited } = run({ PARLEY_URL: app.url, PARLEY_API_KEY: 'parley_nobody' });
    expect(await exited).toEqual([1, null]);
    expect(said.err).toMatch(/^[^\n]+ \(UNAUTHENTICATED\), request [^\n]+\n$/);
  });

  it('asks for a key', async () => {
    const { said, exited } = run({});
    expect(await exited).toEqual([2, null]);
    expect(said.err).toContain('PARLEY_API_KEY');
  });
});

describe('what front-end teams copy', () => {
  const files = readdirSync(dashboard).filter((file) => file.endsWith('.ts') && file !== 'main.ts');

  it('imports graphql-ws and nothing else', () => {
    for (const file of files) {
      const source = readFileSync(`${dashboard}/${file}`, 'utf8');
      const imports = [...source.matchAll(/ from '([^']+)'/g)].map(([, name]) => name ?? '');
      expect(imports.filter((name) => !name.startsWith('./') && name !== 'graphql-ws')).toEqual([]);
    }
  });

  it('type-checks for a browser, without the types of Node', () => {
    const options =
      '--ignoreConfig --noEmit --strict --target es2023 --lib es2023,dom --module esnext --moduleResolution bundler';
    const paths = files.map((file) => `${dashboard}/${file}`);
    const tsc = spawnSync(
      process.execPath,
      ['node_modules/typescript/bin/tsc', ...options.split(' '), '--skipLibCheck', ...paths],
      { cwd: root, encoding: 'utf8' },
    );
    expect(tsc.stdout).toBe('');
    expect(tsc.status).toBe(0);
  });
});
