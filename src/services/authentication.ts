import type { Config } from '../config.js';
import type { Database } from '../database/client.js';
import { unauthorized } from '../errors.js';
import type { ApiKey } from '../generated/prisma/client.js';
import type { Actor } from './actor.js';
import { hashApiKey } from './api-keys.js';

/** Turns credentials into actors. The one place where that happens; other kinds of credential belong here. */
export interface Authentication {
  /** @throws ParleyError `unauthorized` for a missing, unknown, expired or revoked credential */
  authenticate(credential: string | undefined): Promise<Actor>;
}

/** How long a revoked key may still open something. */
const CACHE_MS = 2_000;
const MAX_CACHED = 10_000;
const MAX_KEY_LENGTH = 255;
const LAST_USED_RESOLUTION_MS = 60_000;

/**
 * Keys are looked up by their hash, so nothing of a key is compared byte by byte. A looked-up key is
 * remembered for two seconds; an unknown one is not, so that guessing cannot fill the memory.
 */
export function createAuthentication(
  database: Database,
  config: Pick<Config, 'bootstrapTenantId'>,
): Authentication {
  const cache = new Map<string, { actor: Actor; expiresAt: Date | null; until: number }>();

  async function lookUp(name: string, secretHash: Uint8Array<ArrayBuffer>): Promise<Actor> {
    const key = await database.apiKey.findUnique({ where: { secretHash } });
    const now = Date.now();
    if (!key || key.revokedAt || (key.expiresAt && key.expiresAt.getTime() <= now)) throw unauthorized();
    if (!key.lastUsedAt || now - key.lastUsedAt.getTime() > LAST_USED_RESOLUTION_MS) await touch(key);
    const actor = toActor(key, config.bootstrapTenantId);
    if (cache.size >= MAX_CACHED) cache.clear();
    cache.set(name, { actor, expiresAt: key.expiresAt, until: now + CACHE_MS });
    return actor;
  }

  const touch = ({ tenantId, id }: ApiKey) =>
    database.apiKey.updateMany({ where: { tenantId, id }, data: { lastUsedAt: new Date() } });

  return {
    async authenticate(credential) {
      if (!credential || credential.length > MAX_KEY_LENGTH) throw unauthorized();
      const secretHash = hashApiKey(credential);
      const name = Buffer.from(secretHash).toString('base64');
      const cached = cache.get(name);
      const now = Date.now();
      if (cached && cached.until > now && !(cached.expiresAt && cached.expiresAt.getTime() <= now)) {
        return cached.actor;
      }
      return lookUp(name, secretHash);
    },
  };
}

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
