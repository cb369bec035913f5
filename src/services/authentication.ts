import { hash } from 'node:crypto';
import type { Config } from '../config.js';
import type { Database } from '../database/client.js';
import { unauthorized } from '../errors.js';
import type { ApiKey } from '../generated/prisma/client.js';
import type { Actor } from './actor.js';

/** Turns credentials into actors. The one place where that happens; other kinds of credential belong here. */
export interface Authentication {
  /** @throws ParleyError `unauthorized` for a missing, unknown, expired or revoked credential */
  authenticate(credential: string | undefined): Promise<Actor>;
  /** For who asks again and again: tells what `authenticate` would answer, as far as that is remembered. */
  recaller(credential: string | undefined): () => Actor | undefined;
}

/** How long a revoked key may still open something. */
const CACHE_MS = 2_000;
const MAX_CACHED = 10_000;
const MAX_KEY_LENGTH = 255;
const LAST_USED_RESOLUTION_MS = 60_000;

interface Cached {
  readonly answer: Promise<Actor>;
  /** The answer, once it is there. */
  actor?: Actor;
  /** When it is to be looked up again, or has come to its end. */
  until: number;
}

/**
 * Keys are looked up by their hash, so nothing of a key is compared byte by byte. A looked-up key is remembered for
 * two seconds, and those who ask for it at the same time wait for the same look-up; an unknown one is not remembered,
 * so that guessing cannot fill the memory.
 */
export function createAuthentication(
  database: Database,
  config: Pick<Config, 'bootstrapTenantId'>,
): Authentication {
  const cache = new Map<string, Cached>();

  function remember(name: string): Cached {
    const cached: Cached = {
      until: Date.now() + CACHE_MS,
      answer: lookUp(name).then(
        ({ actor, expiresAt }) => {
          cached.actor = actor;
          cached.until = Math.min(Date.now() + CACHE_MS, expiresAt?.getTime() ?? Number.POSITIVE_INFINITY);
          return actor;
        },
        (error) => {
          if (cache.get(name) === cached) cache.delete(name);
          throw error;
        },
      ),
    };
    if (cache.size >= MAX_CACHED) cache.clear();
    cache.set(name, cached);
    return cached;
  }

  async function lookUp(name: string) {
    const secretHash = new Uint8Array(Buffer.from(name, 'base64'));
    const key = await database.apiKey.findUnique({ where: { secretHash } });
    const now = Date.now();
    if (!key || key.revokedAt || (key.expiresAt && key.expiresAt.getTime() <= now)) throw unauthorized();
    if (!key.lastUsedAt || now - key.lastUsedAt.getTime() > LAST_USED_RESOLUTION_MS) await touch(key);
    return { actor: toActor(key, config.bootstrapTenantId), expiresAt: key.expiresAt };
  }

  const touch = ({ tenantId, id }: ApiKey) =>
    database.apiKey.updateMany({ where: { tenantId, id }, data: { lastUsedAt: new Date() } });

  const current = (name: string): Cached | undefined => {
    const cached = cache.get(name);
    return cached && cached.until > Date.now() ? cached : undefined;
  };

  return {
    async authenticate(credential) {
      if (!isPlausible(credential)) throw unauthorized();
      const name = nameOf(credential);
      return (current(name) ?? remember(name)).answer;
    },
    recaller(credential) {
      if (!isPlausible(credential)) return () => undefined;
      const name = nameOf(credential);
      return () => current(name)?.actor;
    },
  };
}

const isPlausible = (credential: string | undefined): credential is string =>
  credential !== undefined && credential.length > 0 && credential.length <= MAX_KEY_LENGTH;

const nameOf = (credential: string): string => hash('sha256', credential, 'base64');

const toActor = (key: ApiKey, operatorTenantId: string): Actor => ({
  tenantId: key.tenantId,
  keyId: key.id,
  userId: key.userId,
  scopes: new Set(key.scopes),
  isOperator: key.tenantId === operatorTenantId && key.scopes.includes('admin'),
});

/** The key of an `Authorization: Bearer …` value, or undefined. */
export function bearerToken(value: unknown): string | undefined {
  return typeof value === 'string' ? /^Bearer +([^\s]+)$/i.exec(value)?.[1] : undefined;
}
