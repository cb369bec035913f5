import { isIP } from 'node:net';
import { resolve } from 'node:path';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';

const wholeNumber = (minimum: number, maximum: number) =>
  z
    .string()
    .refine(
      (text) => /^\d{1,12}$/.test(text) && Number(text) >= minimum && Number(text) <= maximum,
      `must be a whole number from ${minimum} to ${maximum}`,
    )
    .transform(Number);

const integer = (minimum: number, maximum: number, fallback: number) =>
  wholeNumber(minimum, maximum).default(fallback);

const flag = (fallback: boolean) =>
  z
    .enum(['true', 'false'], 'must be true or false')
    .transform((text) => text === 'true')
    .default(fallback);

const schedule = (fallback: readonly number[]) =>
  z
    .string()
    .regex(/^\d{1,7}(,\d{1,7}){0,31}$/, 'must be 1 to 32 whole seconds, separated by commas, such as 0,5,300')
    .transform((text) => text.split(',').map(Number))
    .default([...fallback]);

const httpUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .transform((url) => url.replace(/\/+$/, ''));

const originList = z
  .string()
  .transform((text) => text.split(',').map((part) => part.trim()))
  .refine(
    (parts) => (parts.length === 1 && parts[0] === '*') || parts.every(isOrigin),
    'must be * or origins separated by commas, such as https://app.example.com,http://localhost:5173',
  );

/** As browsers send it: lower case, no default port, nothing behind it. */
const isOrigin = (part: string) =>
  /^https?:[^*]+$/.test(part) && URL.canParse(part) && new URL(part).origin === part;

const cidrList = z
  .string()
  .transform((text) => text.split(',').map((part) => part.trim()))
  .transform((parts) => parts.filter((part) => part !== ''))
  .refine((parts) => parts.every(isCidr), 'must be CIDR blocks separated by commas, such as 10.0.0.0/8');

/** ipaddr.js alone also reads `10/8`, as 0.0.0.10/8. */
const isCidr = (part: string) => ipaddr.isValidCIDR(part) && isIP(part.split('/')[0] ?? '') !== 0;

const secretsKey = z
  .string()
  .transform((text) => Buffer.from(text, 'base64'))
  .refine((key) => key.length === 32, 'must be 32 bytes in base64 (openssl rand -base64 32)');

/** The tenant's id as it stands in every credential and row (design, section 2). */
export const tenantIdSchema = z.string().regex(/^[a-z0-9_-]{1,63}$/, 'must be 1 to 63 of a-z, 0-9, _ and -');

const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** What a process does: everything, or only answer requests, or only deliver. */
const roles = ['all', 'api', 'worker'] as const;

const environmentSchema = z.object({
  PORT: integer(0, 65_535, 4000),
  HOST: z.string().default('127.0.0.1'),
  PUBLIC_URL: httpUrl.optional(),
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgresql:// URL' }).optional(),
  REDIS_URL: z.url({ protocol: /^rediss?$/, error: 'must be a redis:// or rediss:// URL' }).optional(),
  ROLE: z.enum(roles, `must be one of ${roles.join(', ')}`).default('all'),
  DATA_DIR: z.string().default('.data'),
  BOOTSTRAP_TENANT_ID: tenantIdSchema.default('default'),
  BOOTSTRAP_API_KEY: z.string().min(24, 'must have at least 24 characters').max(255).optional(),
  SECRETS_KEY: secretsKey.optional(),
  REQUIRE_HTTPS_TARGETS: flag(false),
  WEBHOOK_RETRY_SCHEDULE_SECONDS: schedule([0, 5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]),
  SIGNAL_RETRY_SCHEDULE_SECONDS: schedule([0, 1, 5, 30, 120, 600]),
  DELIVERY_DEADLINE_MS: integer(100, 120_000, 15_000),
  MAX_BODY_BYTES: integer(1_024, 104_857_600, 10_485_760),
  GRAPHQL_MAX_DEPTH: integer(1, 100, 15),
  GRAPHQL_MAX_COST: integer(100, 1_000_000, 20_000),
  GRAPHQL_COST_PER_MINUTE: wholeNumber(100, 1_000_000_000).optional(),
  GRAPHQL_TIMEOUT_MS: integer(100, 60_000, 20_000),
  GRAPHQL_INTROSPECTION: flag(true),
  TRUSTED_DOCUMENTS: z.string().optional(),
  EVENT_RETENTION_SECONDS: integer(1, 3_153_600_000, 2_592_000),
  MAX_CONNECTIONS_PER_KEY: wholeNumber(1, 1_000_000).optional(),
  MAX_SUBSCRIPTIONS_PER_KEY: wholeNumber(1, 1_000_000).optional(),
  RATE_LIMIT_PER_MINUTE: wholeNumber(1, 1_000_000_000).optional(),
  CORS_ORIGINS: originList.default([]),
  LOG_LEVEL: z.enum(logLevels, `must be one of ${logLevels.join(', ')}`).default('info'),
  SHUTDOWN_GRACE_SECONDS: integer(1, 600, 20),
});

/** Everything an operator can set, parsed once; section 8 of the design, `.env.example`. */
export interface Config {
  readonly port: number;
  readonly host: string;
  /** Where callers reach Parley from outside, without a trailing slash; null: the address listened on. */
  readonly publicUrl: string | null;
  /** Null: an embedded Postgres in `dataDir`. */
  readonly databaseUrl: string | null;
  /** Null: the queues are in Postgres, and rate limits hold for each process by itself. */
  readonly redisUrl: string | null;
  readonly role: (typeof roles)[number];
  readonly dataDir: string;
  readonly bootstrapTenantId: string;
  /** Null: generated once and kept in `dataDir`, unless the role is `api` or `worker`. */
  readonly bootstrapApiKey: string | null;
  /** 32 bytes that encrypt stored secrets. Null (embedded mode only): generated once, kept in `dataDir`. */
  readonly secretsKey: Buffer | null;
  readonly allowedTargetCidrs: readonly string[];
  readonly requireHttpsTargets: boolean;
  readonly webhookRetryScheduleSeconds: readonly number[];
  readonly signalRetryScheduleSeconds: readonly number[];
  readonly deliveryDeadlineMs: number;
  readonly maxBodyBytes: number;
  readonly graphqlMaxDepth: number;
  /** How many objects one operation may ask for. */
  readonly graphqlMaxCost: number;
  /** What a key's operations may cost together in a minute; null: no limit. */
  readonly graphqlCostPerMinute: number | null;
  readonly graphqlTimeoutMs: number;
  readonly graphqlIntrospection: boolean;
  /** The path of a manifest of the only documents that may run; null: any may. */
  readonly trustedDocuments: string | null;
  /** How long events stay in the log. */
  readonly eventRetentionMs: number;
  /** How many WebSockets and event streams a key may have open on one process; null: no limit. */
  readonly maxConnectionsPerKey: number | null;
  /** How many subscriptions and event streams a key may have open on one process; null: no limit. */
  readonly maxSubscriptionsPerKey: number | null;
  /** Requests and GraphQL operations of one key; null: no limit. */
  readonly rateLimitPerMinute: number | null;
  /** Whose pages may call from a browser: exact origins, or `*` for any. */
  readonly corsOrigins: readonly string[];
  readonly logLevel: string;
  readonly shutdownGraceMs: number;
}

/** Says every fault of the environment at once. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(readonly faults: readonly string[]) {
    super(`The configuration is invalid:\n${faults.map((fault) => `  ${fault}`).join('\n')}`);
  }
}

/**
 * Turns environment variables into the typed configuration. An empty variable counts as unset, except
 * `ALLOWED_TARGET_CIDRS`, where empty means that no special address is allowed.
 * @throws ConfigError that names every faulty variable.
 */
export function parseConfig(environment: NodeJS.ProcessEnv): Config {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = environmentSchema.safeParse(given);
  const cidrs = cidrList.optional().safeParse(environment.ALLOWED_TARGET_CIDRS);
  const faults = [
    ...(parsed.error?.issues ?? []).map((issue) => `${issue.path.join('.')}: ${issue.message}`),
    ...(cidrs.error?.issues ?? []).map((issue) => `ALLOWED_TARGET_CIDRS: ${issue.message}`),
  ];
  if (given.DATABASE_URL && !given.SECRETS_KEY) {
    faults.push('SECRETS_KEY: is required with DATABASE_URL (openssl rand -base64 32)');
  }
  if (!given.DATABASE_URL && (given.ROLE === 'api' || given.ROLE === 'worker')) {
    faults.push(`DATABASE_URL: is required with ROLE=${given.ROLE}, whose other part runs elsewhere`);
  }
  const { GRAPHQL_MAX_COST: maxCost = 0, GRAPHQL_COST_PER_MINUTE: costPerMinute } = parsed.data ?? {};
  if (costPerMinute !== undefined && costPerMinute < maxCost) {
    faults.push(`GRAPHQL_COST_PER_MINUTE: must be at least GRAPHQL_MAX_COST (${maxCost})`);
  }
  if (!parsed.success || !cidrs.success || faults.length > 0) throw new ConfigError(faults);

  const env = parsed.data;
  const loopback = env.DATABASE_URL ? [] : ['127.0.0.0/8', '::1/128'];
  return {
    port: env.PORT,
    host: env.HOST,
    publicUrl: env.PUBLIC_URL ?? null,
    databaseUrl: env.DATABASE_URL ?? null,
    redisUrl: env.REDIS_URL ?? null,
    role: env.ROLE,
    dataDir: resolve(env.DATA_DIR),
    bootstrapTenantId: env.BOOTSTRAP_TENANT_ID,
    bootstrapApiKey: env.BOOTSTRAP_API_KEY ?? null,
    secretsKey: env.SECRETS_KEY ?? null,
    allowedTargetCidrs: cidrs.data ?? loopback,
    requireHttpsTargets: env.REQUIRE_HTTPS_TARGETS,
    webhookRetryScheduleSeconds: env.WEBHOOK_RETRY_SCHEDULE_SECONDS,
    signalRetryScheduleSeconds: env.SIGNAL_RETRY_SCHEDULE_SECONDS,
    deliveryDeadlineMs: env.DELIVERY_DEADLINE_MS,
    maxBodyBytes: env.MAX_BODY_BYTES,
    graphqlMaxDepth: env.GRAPHQL_MAX_DEPTH,
    graphqlMaxCost: env.GRAPHQL_MAX_COST,
    graphqlCostPerMinute: env.GRAPHQL_COST_PER_MINUTE ?? null,
    graphqlTimeoutMs: env.GRAPHQL_TIMEOUT_MS,
    graphqlIntrospection: env.GRAPHQL_INTROSPECTION,
    trustedDocuments: env.TRUSTED_DOCUMENTS ? resolve(env.TRUSTED_DOCUMENTS) : null,
    eventRetentionMs: env.EVENT_RETENTION_SECONDS * 1_000,
    maxConnectionsPerKey: env.MAX_CONNECTIONS_PER_KEY ?? null,
    maxSubscriptionsPerKey: env.MAX_SUBSCRIPTIONS_PER_KEY ?? null,
    rateLimitPerMinute: env.RATE_LIMIT_PER_MINUTE ?? null,
    corsOrigins: env.CORS_ORIGINS,
    logLevel: env.LOG_LEVEL,
    shutdownGraceMs: env.SHUTDOWN_GRACE_SECONDS * 1_000,
  };
}
