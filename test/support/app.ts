import { randomBytes } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { type App, createApp, type Overrides } from '../../src/app.js';
import { type Config, parseConfig } from '../../src/config.js';
import { createLog, type Log } from '../../src/log.js';
import { createDatabase } from './postgres.js';

export const REST = '/api/agent/conversations';

/** A running Parley on a database of its own, with its callers. */
export interface TestApp extends App {
  readonly apiKey: string;
  readonly databaseUrl: string;
  /** The key of the bootstrap tenant, which may do everything. */
  readonly operator: Client;
  /** A new tenant with a key of these scopes (all, `admin` included, by default). */
  tenant(scopes?: readonly string[]): Promise<Client>;
  /** A further key of a client's tenant. */
  keyFor(client: Client, scopes: readonly string[]): Promise<Client>;
  client(apiKey: string, tenantId?: string): Client;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // Tests look at answers freely; what they expect is written in the test.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly body: any;
}

/** A caller with one API key. */
export interface Client {
  readonly tenantId: string;
  readonly apiKey: string;
  rest(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** The whole GraphQL answer, with its errors. */
  graphql(query: string, variables?: object): Promise<Answer>;
  /** The `data` of a GraphQL answer without errors. */
  // biome-ignore lint/suspicious/noExplicitAny: see Answer
  data(query: string, variables?: object): Promise<any>;
}

export const allScopes = [
  'conversations:read',
  'conversations:write',
  'webhooks:manage',
  'workflows:manage',
  'admin',
] as const;

let redisUrl: string | null = null;
let redisDatabases = 0;

/** Where the queues of the Parleys lie that are started from now on: null for Postgres. */
export function queuesOn(url: string | null): void {
  redisUrl = url;
}

/** Starts Parley in this process on a database of its own. Use it in `beforeAll`, and close it in `afterAll`. */
export async function startApp(
  config: Partial<Config> = {},
  overrides: Overrides = {},
  log: Log = createLog(process.env.TEST_LOG_LEVEL ?? 'silent'),
): Promise<TestApp> {
  const database = await createDatabase();
  const defaults = parseConfig({
    DATABASE_URL: database.connectionString,
    SECRETS_KEY: randomBytes(32).toString('base64'),
    BOOTSTRAP_API_KEY: `parley_${randomBytes(24).toString('hex')}`,
    ALLOWED_TARGET_CIDRS: '127.0.0.0/8',
    PORT: '0',
    SHUTDOWN_GRACE_SECONDS: '10',
    ...(redisUrl !== null && { REDIS_URL: `${redisUrl}/${redisDatabases++}` }),
  });
  const app = await createApp({ ...defaults, ...config }, log, overrides);
  const client = (apiKey: string, tenantId = 'default') => createClient(app.url, apiKey, tenantId);
  const operator = client(app.apiKey ?? '');

  const createKey = async (tenantId: string, scopes: readonly string[]) => {
    const { createApiKey } = await operator.data(
      'mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }',
      { input: { tenantId, name: 'test', scopes } },
    );
    return client(createApiKey.secret, tenantId);
  };

  return {
    ...app,
    apiKey: operator.apiKey,
    databaseUrl: database.connectionString,
    operator,
    client,
    async tenant(scopes = allScopes) {
      const id = `t-${randomBytes(8).toString('hex')}`;
      await operator.data(
        'mutation ($input: CreateTenantInput!) { createTenant(input: $input) { tenant { id } } }',
        {
          input: { id, name: id },
        },
      );
      return createKey(id, scopes);
    },
    keyFor: ({ tenantId }, scopes) => createKey(tenantId, scopes),
    async close() {
      await app.close();
      await database.drop();
    },
  };
}

/** A Parley for one test only. */
export async function startAppForTest(
  config: Partial<Config> = {},
  overrides: Overrides = {},
): Promise<TestApp> {
  const app = await startApp(config, overrides);
  onTestFinished(() => app.close());
  return app;
}

/** JSON as its value, anything else as text; of a stream without an end what comes first. */
async function bodyOf(response: Response): Promise<unknown> {
  const type = response.headers.get('content-type') ?? '';
  if (type.startsWith('text/event-stream')) {
    const reader = response.body!.getReader();
    const { value } = await reader.read();
    await reader.cancel();
    return new TextDecoder().decode(value);
  }
  const text = await response.text();
  if (text === '') return null;
  return type.includes('json') ? JSON.parse(text) : text;
}

export function createClient(url: string, apiKey: string, tenantId = 'default'): Client {
  async function request(
    method: string,
    path: string,
    body: unknown,
    headers: Record<string, string>,
  ): Promise<Answer> {
    const response = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${apiKey}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, body: await bodyOf(response) };
  }
  const client: Client = {
    tenantId,
    apiKey,
    rest: (method, path, body, headers = {}) => request(method, REST + path, body, headers),
    graphql: (query, variables = {}) => request('POST', '/graphql', { query, variables }, {}),
    async data(query, variables) {
      const { body } = await client.graphql(query, variables);
      if (body.errors) throw new Error(`GraphQL errors: ${JSON.stringify(body.errors)}`);
      return body.data;
    },
  };
  return client;
}
