import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { httpStatus } from '../../src/http/faults.js';
import { encodeId, newId } from '../../src/ids.js';
import { errorStatuses } from '../../src/rest-compat/error-answers.js';
import { restRoutes } from '../../src/rest-compat/routes.js';
import { type Client, REST, startApp, startAppForTest, type TestApp } from '../support/app.js';
import {
  checksOf,
  type OpenApiDocument,
  type Operation,
  readOpenApi,
  type Schema,
} from '../support/openapi.js';
import { startReceiver } from '../support/receiver.js';

let app: TestApp;
let document: OpenApiDocument;
let checks: ReturnType<typeof checksOf>;
beforeAll(async () => {
  app = await startApp();
  document = await readOpenApi(app.url);
  checks = checksOf(document);
});
afterAll(() => app.close());

const root = new URL('../../', import.meta.url);
const template = (path: string) => path.replace(/:(\w+)/g, '{$1}');
const operations = (): [method: string, path: string, operation: Operation][] =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, string, Operation] => [
      method.toUpperCase(),
      path,
      operation,
    ]),
  );

describe('the document', () => {
  it('has every route with its scope, and no other', () => {
    const described = operations().map(([method, path, { security }]) => [
      `${method} ${path}`,
      security[0]?.bearer,
      security[1]?.apiKey,
    ]);
    const mounted = restRoutes.map(({ method, path, scope }) => [
      `${method} ${template(path)}`,
      [scope],
      [scope],
    ]);
    expect(described.sort()).toEqual(mounted.sort());
  });

  it('names the server by PUBLIC_URL, and otherwise by the place that it is read from', async () => {
    expect(document.servers).toEqual([{ url: '/' }]);
    const parley = await startAppForTest({ publicUrl: 'https://parley.example.com' });
    expect((await readOpenApi(parley.url)).servers).toEqual([{ url: 'https://parley.example.com' }]);
  });

  it('passes the linter without an error or a warning', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'openapi-'));
    try {
      const file = join(directory, 'openapi.json');
      await writeFile(file, JSON.stringify(document));
      const cli = new URL('node_modules/@redocly/cli/bin/cli.js', root).pathname;
      const config = new URL('redocly.yaml', root).pathname;
      const { stdout } = await promisify(execFile)(
        process.execPath,
        [cli, 'lint', file, '--config', config, '--format', 'json'],
        { env: { ...process.env, REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true', REDOCLY_TELEMETRY: 'off' } },
      ).catch((failed: { stdout: string }) => failed);
      const { totals, problems } = JSON.parse(stdout.slice(stdout.indexOf('{')));
      expect({ ...totals, problems }).toEqual({ errors: 0, warnings: 0, ignored: 0, problems: [] });
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it('describes every member of every schema, every parameter and every answer', () => {
    const silent: string[] = [];
    const visit = (name: string, schema: Schema) => {
      for (const [member, inner] of Object.entries<Schema>(schema.properties ?? {})) {
        const isReference = JSON.stringify(inner).includes('"$ref"');
        if (!inner.description && !isReference) silent.push(`${name}.${member}`);
        visit(`${name}.${member}`, inner);
      }
      if (schema.items) visit(`${name}[]`, schema.items);
    };
    for (const [name, schema] of Object.entries(document.components.schemas)) {
      if (!schema.description) silent.push(name);
      visit(name, schema);
    }
    for (const [method, path, { parameters = [], responses }] of operations()) {
      for (const described of [...parameters, ...Object.values(responses)] as Schema[]) {
        if (!described.description && !described.$ref) silent.push(`${method} ${path} ${described.name}`);
      }
    }
    expect(silent).toEqual([]);
  });

  it('has the examples of the conversations document, to the letter', async () => {
    const given = await readFile(new URL('test/fixtures/conversations-api.md', root), 'utf8');
    const examples = [...given.matchAll(/```json\n([\s\S]*?)```/g)].map(([, json]) => JSON.parse(json!));
    expect(examples.length).toBe(6);
    const shown = [
      ...operations().flatMap(([, , { requestBody }]) => examplesOf(requestBody?.content)),
      ...Object.values(document.webhooks).flatMap(({ post }) => examplesOf(post.requestBody?.content)),
      (document.components.responses.Error400 as Schema).content['application/json'].example,
    ];
    for (const example of examples) expect(shown).toContainEqual(expect.objectContaining(example));
  });

  it('has the statuses and codes of errors that the server has', () => {
    const described = Object.entries(errorStatuses).flatMap(([status, { codes }]) =>
      Object.keys(codes).map((code) => [code, Number(status)]),
    );
    const answered = Object.entries(httpStatus).filter(([code]) => code !== 'method_not_allowed');
    expect(Object.fromEntries(described)).toEqual(Object.fromEntries(answered));
  });

  const examplesOf = (content: Schema = {}) =>
    Object.values<Schema>(content['application/json']?.examples ?? {}).map(({ value }) => value);
});

/** What a tenant has that requests are about. */
async function furnished() {
  const client = await app.tenant();
  const email = await client.rest('POST', '/inbound', documented('InboundMessageInput'));
  const message = await client.rest('GET', `/messages/${email.body.messageId}`);
  const webhook = await client.rest('POST', '/outbound/webhook', documentedWebhook);
  return {
    client,
    threadId: email.body.threadId as string,
    messageId: email.body.messageId as string,
    attachmentId: message.body.content.attachments[0].id as string,
    id: webhook.body.id as string,
  };
}

const documentedWebhook = { url: 'http://127.0.0.1:9/', events: ['message.created'] };

/** The first example of a body. */
function documented(name: string): object {
  for (const [, , { requestBody }] of operations()) {
    const { schema, examples } = requestBody?.content['application/json'] ?? {};
    if (schema?.$ref?.endsWith(`/${name}`)) return Object.values(examples ?? {})[0]?.value as object;
  }
  throw new Error(`No body is called ${name}`);
}

const bodies: Record<string, () => object> = {
  receiveInboundMessage: () => documented('InboundMessageInput'),
  sendOutboundMessage: () => ({
    workflowId: 'w',
    participantId: 'p',
    channel: 'x',
    channelKey: 'k',
    content: {},
  }),
  updateThread: () => documented('ThreadUpdate'),
  updateMessageStatus: () => documented('MessageStatusUpdate'),
  registerWebhook: () => documentedWebhook,
};

const rows = restRoutes
  .filter(({ operationId }) => operationId !== 'followEvents')
  .map((route) => ({ ...route, name: `${route.method} ${route.path.slice(REST.length)}` }));

describe('an answer is as described:', () => {
  it.each(rows)('$name', async ({ method, path, query, operationId }) => {
    const { client, ...ids } = await furnished();
    const stranger = await app.tenant();
    const target = path.replace(/:(\w+)/g, (_, name: keyof typeof ids) => ids[name]);
    const absent = path.replace(/:(\w+)/g, encodeId('thread', newId()));
    const body = bodies[operationId]?.();
    const { schema } = bodySchemaOf(method, template(path));
    const readOnly = await app.keyFor(client, ['workflows:manage']);
    const wrong = {
      channel: '',
      url: 'nope',
      status: 'nope',
      pageSize: '0',
      limit: '0',
      permanent: 'x',
    };
    const hasLimits = query && operationId !== 'getAttachment';

    const expectDescribed = async (
      caller: Client,
      at: string,
      given: object | undefined,
      statuses: number[],
    ) => {
      const answer = await fetch(app.url + at, {
        method,
        headers: {
          authorization: `Bearer ${caller.apiKey}`,
          ...(given && { 'content-type': 'application/json' }),
        },
        body: given ? JSON.stringify(given) : null,
      });
      const text = await answer.text();
      expect(statuses, text).toContain(answer.status);
      const isJson = answer.headers.get('content-type')?.startsWith('application/json');
      const value = isJson ? JSON.parse(text) : text;
      expect(checks.faultsOfAnswer(method, template(path), answer.status, answer.headers, value)).toEqual([]);
      return value;
    };

    await expectDescribed(app.client('nope'), target, body, [401]);
    await expectDescribed(readOnly, target, body, [403]);
    if (path.includes(':')) {
      await expectDescribed(client, absent, body, [404]);
      await expectDescribed(stranger, target, body, [404]);
    }
    if (hasLimits) await expectDescribed(client, `${target}?${new URLSearchParams(wrong)}`, body, [400]);
    if (schema) {
      await expectDescribed(client, target, wrong, [400]);
      await expectDescribed(client, target, { ...body, more: 'x'.repeat(11_000_000) }, [413]);
    }
    await expectDescribed(client, target, body, [200]);
  });

  const bodySchemaOf = (method: string, path: string): { schema?: Schema } =>
    document.paths[path]?.[method.toLowerCase()]?.requestBody?.content['application/json'] ?? {};

  it('DELETE /threads/:threadId?permanent=true', async () => {
    const { client, threadId } = await furnished();
    const { headers, body } = await client.rest('DELETE', `/threads/${threadId}?permanent=true`);
    expect(checks.faultsOfAnswer('DELETE', `${REST}/threads/{threadId}`, 200, headers, body)).toEqual([]);
    expect(body.deleted).toBe(true);
  });

  it('a conflict', async () => {
    const client = await app.tenant();
    const path = `${REST}/inbound`;
    const post = (participantId: string) =>
      client.rest(
        'POST',
        '/inbound',
        { ...documented('InboundMessageInput'), participantId },
        { 'idempotency-key': 'k' },
      );
    await post('a');
    const { status, headers, body } = await post('b');
    expect([status, checks.faultsOfAnswer('POST', path, status, headers, body)]).toEqual([409, []]);
  });

  it('a refusal for too many requests', async () => {
    const { operator } = await startAppForTest({ rateLimitPerMinute: 1 });
    await operator.rest('GET', '/threads');
    const { status, headers, body } = await operator.rest('GET', '/threads');
    expect(status).toBe(429);
    expect(checks.faultsOfAnswer('GET', `${REST}/threads`, status, headers, body)).toEqual([]);
  });

  it('and the description would refuse a member too many, one too few, an attachment with data, another code', async () => {
    const { client, threadId } = await furnished();
    const path = `${REST}/threads/{threadId}`;
    const { headers, body } = await client.rest('GET', `/threads/${threadId}`);
    const faults = (status: number, value: unknown) =>
      checks.faultsOfAnswer('GET', path, status, headers, value);
    expect(faults(200, body)).toEqual([]);
    expect(faults(200, { ...body, further: 1 })).not.toEqual([]);
    expect(faults(200, { ...body, id: 'thread_1' })).not.toEqual([]);
    expect(faults(200, { ...body, createdAt: 'today' })).not.toEqual([]);
    const { status: _, ...less } = body;
    expect(faults(200, less)).not.toEqual([]);
    const [message] = body.messages;
    const attachments = [{ ...message.content.attachments[0], data: 'QQ==' }];
    const withData = { ...message, content: { ...message.content, attachments } };
    expect(faults(200, { ...body, messages: [withData] })).not.toEqual([]);
    expect(faults(404, { error: { code: 'not_found', message: 'x' } })).toEqual([]);
    expect(faults(404, { error: { code: 'forbidden', message: 'x' } })).not.toEqual([]);
  });
});

describe('a body', () => {
  const described = restRoutes.filter(({ body }) => body).map(({ method, path }) => [method, path] as const);

  it.each(described)(
    'of %s %s: its examples are taken, and what they must have is asked for',
    async (method, path) => {
      const { client, ...ids } = await furnished();
      const target = path.slice(REST.length).replace(/:(\w+)/g, (_, name: keyof typeof ids) => ids[name]);
      const { schema, examples = {} } =
        document.paths[template(path)]![method.toLowerCase()]!.requestBody!.content['application/json']!;
      const component = schema.$ref.split('/').at(-1);
      for (const { value } of Object.values(examples)) {
        expect(checks.faultsOfComponent(component, value)).toEqual([]);
        const given = { ...(value as Record<string, unknown>) };
        if ('threadId' in given) given.threadId = ids.threadId;
        if ('url' in given) given.url = documentedWebhook.url;
        expect((await client.rest(method, target, given)).body.error).toBeUndefined();
        for (const member of document.components.schemas[component].required ?? []) {
          const { [member]: _, ...less } = given;
          const { status, body } = await client.rest(method, target, less);
          expect([status, body.error.details]).toEqual([400, [{ field: member, issue: expect.any(String) }]]);
        }
      }
    },
  );

  it.each(restRoutes.filter(({ query }) => query).map(({ method, path }) => [method, path] as const))(
    'and the query of %s %s: whole numbers have the limits that are described',
    async (method, path) => {
      const { client, ...ids } = await furnished();
      const target = path.slice(REST.length).replace(/:(\w+)/g, (_, name: keyof typeof ids) => ids[name]);
      const { parameters = [] } = document.paths[template(path)]![method.toLowerCase()]!;
      for (const { name, schema } of parameters.filter((parameter) => parameter.schema.type === 'integer')) {
        if (name === 'expires') continue;
        const ask = (value: number) => client.rest(method, `${target}?${name}=${value}`);
        for (const value of [schema.minimum, schema.maximum]) expect((await ask(value)).status).toBe(200);
        for (const value of [schema.minimum - 1, schema.maximum + 1]) {
          expect((await ask(value)).body.error.details).toEqual([{ field: name, issue: expect.any(String) }]);
        }
        if (schema.default !== undefined && name !== 'limit') {
          const [without, given] = [await client.rest(method, target), await ask(schema.default)];
          expect(without.body).toEqual(given.body);
          expect(without.body[name] ?? without.body.messagesPage[name]).toBe(schema.default);
        }
      }
    },
  );
});

it('what webhooks and workflow handlers get is as described', async () => {
  const client = await app.tenant();
  const receiver = await startReceiver();
  const events = ['message.created', 'message.updated', 'thread.created', 'thread.deleted'];
  const webhook = await client.rest('POST', '/outbound/webhook', { url: receiver.url, events });
  await client.data(
    'mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { secret } }',
    { input: { workflowId: '*', kind: 'HTTP', url: receiver.url } },
  );
  const { body } = await client.rest('POST', '/inbound', documented('InboundMessageInput'));
  await client.rest('POST', '/outbound', { threadId: body.threadId, content: { subject: 'Hello' } });
  await receiver.waitFor(4);
  await client.rest('DELETE', `/threads/${body.threadId}?permanent=true`);
  await client.data('mutation ($id: ID!) { sendTestWebhook(input: { id: $id }) { delivery { id } } }', {
    id: webhook.body.id,
  });
  const received = (await receiver.waitFor(6)).map(({ body: json }) => json);
  const kinds = received.map((given) => {
    const name = given.signalName
      ? 'WorkflowSignal'
      : given.messageId
        ? 'MessageWebhookBody'
        : given.threadId
          ? 'ThreadWebhookBody'
          : 'TestWebhookBody';
    expect(checks.faultsOfComponent(name, given)).toEqual([]);
    return name;
  });
  expect(new Set(kinds)).toEqual(
    new Set(['WorkflowSignal', 'MessageWebhookBody', 'ThreadWebhookBody', 'TestWebhookBody']),
  );
});

it('the data of a server-sent event is as described', async () => {
  const { client, threadId } = await furnished();
  await client.rest('PUT', `/threads/${threadId}`, { status: 'closed' });
  const stopping = new AbortController();
  const response = await fetch(`${app.url}${REST}/events?after=start`, {
    headers: { authorization: `Bearer ${client.apiKey}` },
    signal: stopping.signal,
  });
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
  let text = '';
  for await (const chunk of response.body!) {
    text += Buffer.from(chunk).toString();
    if (text.includes('event: thread.updated\n') && text.endsWith('\n\n')) break;
  }
  stopping.abort();
  const events = [...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data!));
  expect(events.map(({ type }) => type)).toEqual(
    expect.arrayContaining(['thread.created', 'message.created']),
  );
  for (const event of events) expect(checks.faultsOfComponent('Event', event)).toEqual([]);
});

describe('/docs', () => {
  it('and all that it loads come from the server, without a key, compressed and for revalidation', async () => {
    const page = await fetch(`${app.url}/docs`);
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    const html = await page.text();
    const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url!);
    const files = [...loaded.filter((url) => !url.startsWith('data:')), 'openapi.json'];
    expect(files.length).toBe(4);
    for (const file of files) {
      expect(file).not.toMatch(/^(\w+:|\/)/);
      const url = new URL(file, `${app.url}/docs`);
      const { status, headers } = await fetch(url);
      expect([status, headers.get('content-encoding')]).toEqual([200, 'gzip']);
      const again = await fetch(url, { headers: { 'if-none-match': headers.get('etag')! } });
      expect([again.status, await again.text()]).toEqual([304, '']);
      const plain = await fetch(url, { headers: { 'accept-encoding': 'identity' } });
      expect([plain.headers.get('content-encoding'), (await plain.text()).length > 100]).toEqual([
        null,
        true,
      ]);
    }
    expect(html).not.toMatch(/https?:/);
  });

  it('may run its own scripts and talk to its own server, and nothing else', async () => {
    const { headers } = await fetch(`${app.url}/docs`);
    const policy = Object.fromEntries(
      (headers.get('content-security-policy') ?? '').split('; ').map((rule) => {
        const [name, ...sources] = rule.split(' ');
        return [name, sources.join(' ')];
      }),
    );
    expect(policy).toMatchObject({
      'default-src': "'none'",
      'script-src': "'self'",
      'connect-src': "'self'",
    });
    expect(policy['frame-ancestors']).toBe("'none'");
  });
});
