import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, REST, startApp, type TestApp } from '../support/app.js';
import { startReceiver } from '../support/receiver.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const email = (attachments: unknown) => ({
  workflowId: 'workflow_1',
  participantId: 'participant_1',
  channel: 'email',
  channelKey: 'participant_1@example.com',
  content: { subject: 'Files', attachments },
});

const file = (filename: string, data: Buffer | string) => ({
  filename,
  contentType: 'application/octet-stream',
  data: typeof data === 'string' ? data : data.toString('base64'),
});

const download = (client: Client, url: string, headers: Record<string, string> = {}) =>
  fetch(url, { headers: { authorization: `Bearer ${client.apiKey}`, ...headers } });

/** Stores an email with one file and answers with what its content says of it. */
async function attach(client: Client, attachment: object) {
  const stored = await client.rest('POST', '/inbound', email([attachment]));
  expect(stored).toMatchObject({ status: 200 });
  const message = await client.rest('GET', `/messages/${stored.body.messageId}`);
  return { ...stored.body, attachment: message.body.content.attachments[0] };
}

describe('attachments', () => {
  it('of a 9 MB email are listed without their bytes and downloaded byte for byte', async () => {
    const client = await app.tenant();
    const files = [3_000_000, 3_000_000, 750_000].map((bytes) => randomBytes(bytes));
    const body = email(files.map((bytes, index) => file(`file-${index}.bin`, bytes)));
    expect(JSON.stringify(body).length).toBeGreaterThan(9_000_000);
    const { body: stored } = await client.rest('POST', '/inbound', body);

    const thread = await client.rest('GET', `/threads/${stored.threadId}`);
    expect(JSON.stringify(thread.body).length).toBeLessThan(3_000);
    const { attachments } = thread.body.messages[0].content;
    expect(attachments).toEqual(
      files.map((bytes, index) => ({
        filename: `file-${index}.bin`,
        contentType: 'application/octet-stream',
        id: expect.stringMatching(/^attachment_[0-9a-z]{26}$/),
        size: bytes.length,
        url: `${app.url}${REST}/attachments/${attachments[index].id}`,
      })),
    );
    for (const [index, bytes] of files.entries()) {
      const answer = await download(client, attachments[index].url);
      expect(answer.status).toBe(200);
      expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
    }
  });

  it('are shown the same way by GraphQL', async () => {
    const client = await app.tenant();
    const { messageId, attachment } = await attach(client, file('a.txt', Buffer.from('hello')));
    const { message } = await client.data('query ($id: ID!) { message(id: $id) { content } }', {
      id: messageId,
    });
    expect(message.content).toEqual({ subject: 'Files', attachments: [attachment] });
  });

  it('keep further members, and lose those that Parley sets itself', async () => {
    const client = await app.tenant();
    const { attachment } = await attach(client, {
      ...file('a.txt', Buffer.from('hello')),
      contentId: 'cid-1',
      inline: true,
      id: 'mine',
      size: -1,
      url: 'https://example.com/',
    });
    expect(attachment).toEqual({
      filename: 'a.txt',
      contentType: 'application/octet-stream',
      contentId: 'cid-1',
      inline: true,
      id: expect.stringMatching(/^attachment_/),
      size: 5,
      url: expect.stringContaining('/attachments/attachment_'),
    });
  });

  it.each([
    ['QUJD', 'ABC'],
    ['QUI=', 'AB'],
    ['QUI', 'AB'],
    ['QQ==', 'A'],
    ['QR', 'A'],
    ['', ''],
    ['-_-_', Buffer.from('+/+/', 'base64').toString('latin1')],
    ['+/-_', Buffer.from('+/+/', 'base64').toString('latin1')],
    ['base64-encoded-data', Buffer.from('base64+encoded+data', 'base64').toString('latin1')],
  ])('take %j as base64', async (data, text) => {
    const client = await app.tenant();
    const { attachment } = await attach(client, file('a.bin', data));
    const answer = await download(client, attachment.url);
    expect(Buffer.from(await answer.arrayBuffer()).toString('latin1')).toBe(text);
    expect(attachment.size).toBe(text.length);
  });

  it.each(['a', 'abcde', 'QUJD\n', 'Q UJD', '=', 'QUJD===', 'Q=UJD', 'é', 'QUJD!', 'QU\u0000D'])(
    'refuse %j as base64, naming the attachment',
    async (data) => {
      const client = await app.tenant();
      const answer = await client.rest('POST', '/inbound', email([file('a', 'QUJD'), file('b', data)]));
      expect(answer).toMatchObject({ status: 400, body: { error: { code: 'invalid_request' } } });
      const fields = answer.body.error.details.map(({ field }: { field: string }) => field);
      expect(new Set(fields)).toEqual(new Set(['content.attachments[1].data']));
      expect((await client.rest('GET', '/threads')).body.threads).toEqual([]);
    },
  );

  it.each([
    [{}, ['filename', 'contentType', 'data']],
    [{ ...file('', 'QQ') }, ['filename']],
    [{ ...file('x'.repeat(256), 'QQ') }, ['filename']],
    [{ ...file('a', 'QQ'), contentType: 'text' }, ['contentType']],
    [{ ...file('a', 'QQ'), contentType: 'text/plain\r\nX-Evil: 1' }, ['contentType']],
    [{ ...file('a', 'QQ'), contentId: 5 }, ['contentId']],
    [{ ...file('a', 'QQ'), data: 5 }, ['data']],
  ])('refuse %j and name every fault', async (attachment, members) => {
    const client = await app.tenant();
    const answer = await client.rest('POST', '/inbound', email([attachment]));
    expect(answer.status).toBe(400);
    expect(answer.body.error.details.map(({ field }: { field: string }) => field).sort()).toEqual(
      members.map((member) => `content.attachments[0].${member}`).sort(),
    );
  });

  it.each([['text'], [{}], [5], [[null]], [['text']], [Array(51).fill(file('a', 'QQ'))]])(
    'refuse a list of them that is none',
    async (attachments) => {
      const client = await app.tenant();
      const answer = await client.rest('POST', '/inbound', email(attachments));
      expect(answer.status).toBe(400);
      expect(answer.body.error.details[0].field).toMatch(/^content\.attachments/);
    },
  );

  it('are told from anything else by nothing but an email: other channels keep the member as it is', async () => {
    const client = await app.tenant();
    const content = { body: 'Hi', attachments: [{ data: 'anything' }, 5] };
    const { body } = await client.rest('POST', '/inbound', { ...email([]), channel: 'chat', content });
    expect((await client.rest('GET', `/messages/${body.messageId}`)).body.content).toEqual(content);
  });

  it('are stored once per idempotency key, whatever is sent again', async () => {
    const client = await app.tenant();
    const body = { ...email([file('a', 'QUJD')]), idempotencyKey: 'one' };
    const [first, second] = [
      await client.rest('POST', '/inbound', body),
      await client.rest('POST', '/inbound', body),
    ];
    expect(second.body).toEqual(first.body);
    const other = { ...body, content: { ...body.content, attachments: [file('a', 'QUJE')] } };
    expect((await client.rest('POST', '/inbound', other)).status).toBe(409);
  });
});

describe('a download', () => {
  const bytes = randomBytes(600_000);

  it('has type, name, length and a tag, and cannot become a page of ours', async () => {
    const client = await app.tenant();
    const { attachment } = await attach(client, {
      ...file('Übersicht "1".html', Buffer.from('<script>')),
      contentType: 'text/html; charset=utf-8',
    });
    const { headers } = await download(client, attachment.url);
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-disposition': `attachment; filename="?bersicht \\"1\\".html"; filename*=UTF-8''%C3%9Cbersicht%20%221%22.html`,
      'content-length': '8',
      'x-content-type-options': 'nosniff',
      'accept-ranges': 'bytes',
      etag: expect.stringMatching(/^"[\w-]{43}"$/),
    });
    expect(headers.get('content-security-policy')).toContain('sandbox');
  });

  it('is not sent again to who has it already', async () => {
    const client = await app.tenant();
    const { attachment } = await attach(client, file('a', bytes));
    const etag = (await download(client, attachment.url, {})).headers.get('etag') ?? '';
    const again = await download(client, attachment.url, { 'if-none-match': etag });
    expect([again.status, await again.text()]).toEqual([304, '']);
    expect((await download(client, attachment.url, { 'if-none-match': '"other"' })).status).toBe(200);
  });

  it.each([
    ['bytes=0-9', 0, 10],
    ['bytes=300000-', 300_000, 600_000],
    ['bytes=-5', 599_995, 600_000],
    ['bytes=262140-262150', 262_140, 262_151],
    ['bytes=599999-700000', 599_999, 600_000],
    ['bytes=-700000', 0, 600_000],
  ])('can be of a part: %s', async (range, start, end) => {
    const client = await app.tenant();
    const { attachment } = await attach(client, file('a', bytes));
    const answer = await download(client, attachment.url, { range });
    expect(answer.status).toBe(206);
    expect(answer.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/600000`);
    expect(Buffer.from(await answer.arrayBuffer()).equals(bytes.subarray(start, end))).toBe(true);
  });

  it('of a part that is not there is a 416; a range that makes no sense is not looked at', async () => {
    const client = await app.tenant();
    const { attachment } = await attach(client, file('a', bytes));
    const beyond = await download(client, attachment.url, { range: 'bytes=600000-' });
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, 'bytes */600000']);
    expect(await beyond.text()).toBe('');
    for (const range of ['bytes=x', 'lines=1-2', 'bytes=0-1,5-6', 'bytes=9-2']) {
      expect([range, (await download(client, attachment.url, { range })).status]).toEqual([
        range,
        range === 'bytes=9-2' ? 416 : 200,
      ]);
    }
  });

  it('of a part goes on only with the file that it began with', async () => {
    const client = await app.tenant();
    const { attachment } = await attach(client, file('a', bytes));
    const other = { range: 'bytes=5-', 'if-range': '"other"' };
    expect((await download(client, attachment.url, other)).status).toBe(200);
  });

  it('ends with the thread', async () => {
    const client = await app.tenant();
    const { threadId, attachment } = await attach(client, file('a', bytes));
    await client.rest('DELETE', `/threads/${threadId}?permanent=true`);
    expect((await download(client, attachment.url)).status).toBe(404);
  });

  it('is for its tenant only, and for keys that may read', async () => {
    const [client, other] = [await app.tenant(), await app.tenant()];
    const { attachment } = await attach(client, file('a', bytes));
    expect((await download(other, attachment.url)).status).toBe(404);
    const writer = await app.keyFor(client, ['conversations:write']);
    expect((await download(writer, attachment.url)).status).toBe(403);
    expect((await fetch(attachment.url)).status).toBe(401);
  });
});

describe('a signed link', () => {
  /** What a workflow handler and a webhook get of an email with a file. */
  async function delivered() {
    const client = await app.tenant();
    const receiver = await startReceiver();
    const handler = { workflowId: 'workflow_1', kind: 'HTTP', url: receiver.url };
    await client.data(
      'mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { secret } }',
      { input: handler },
    );
    await client.rest('POST', '/inbound', email([file('a.txt', Buffer.from('hello'))]));
    const [signal] = await receiver.waitFor(1);
    return { client, receiver, content: signal!.body.content };
  }

  it('stands in signals, needs no key, and gives the file', async () => {
    const { content } = await delivered();
    const [attachment] = content.attachments;
    expect(attachment).toMatchObject({ filename: 'a.txt', size: 5 });
    expect(attachment.data).toBeUndefined();
    expect(attachment.url).toMatch(new RegExp(`^${app.url}${REST}/attachments/${attachment.id}\\?`));
    const answer = await fetch(attachment.url);
    expect([answer.status, await answer.text()]).toEqual([200, 'hello']);
    const lifetime = Number(new URL(attachment.url).searchParams.get('expires')) - Date.now() / 1_000;
    expect(Math.round(lifetime / 86_400)).toBe(7);
  });

  it('stands in webhooks too', async () => {
    const client = await app.tenant();
    const receiver = await startReceiver();
    await client.rest('POST', '/outbound/webhook', { url: receiver.url, events: ['message.created'] });
    await client.rest('POST', '/outbound', email([file('a.txt', Buffer.from('hello'))]));
    const [delivery] = await receiver.waitFor(1);
    const [attachment] = delivery!.body.content.attachments;
    expect(await (await fetch(attachment.url)).text()).toBe('hello');
  });

  it('opens nothing when anything of it is changed', async () => {
    const { client, content } = await delivered();
    const { attachment: other } = await attach(client, file('b', 'QQ'));
    const [{ url, id }] = content.attachments;
    const changed = (name: string, value: string) => {
      const link = new URL(url);
      link.searchParams.set(name, value);
      return link.href;
    };
    const refused = [
      changed('expires', '99999999999'),
      changed('expires', '1'),
      changed('tenant', 'default'),
      changed('signature', 'AAAA'),
      changed('signature', ''),
      url.replace(id, other.id),
      url.split('?')[0],
    ];
    for (const link of refused) expect([link, (await fetch(link)).status]).toEqual([link, 401]);
    for (const link of [changed('expires', 'soon'), changed('expires', '-1')]) {
      expect([link, (await fetch(link)).status]).toEqual([link, 400]);
    }
  });

  it('is not what a request with a key goes by', async () => {
    const { content } = await delivered();
    const stranger = await app.tenant();
    expect((await download(stranger, content.attachments[0].url)).status).toBe(404);
  });
});
