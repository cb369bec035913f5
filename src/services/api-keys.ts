import { createHash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { tenantIdSchema } from '../config.js';
import { type Database, sqlState } from '../database/client.js';
import { conflict, forbidden, notFound } from '../errors.js';
import type { ApiKey, Tenant } from '../generated/prisma/client.js';
import { decodeId, newId } from '../ids.js';
import type { PageRequest } from '../pagination.js';
import { type Actor, requireScope, scopes } from './actor.js';
import type { Context } from './context.js';
import { instant, listOfSome, parseInput, text } from './input.js';
import { newestFirst, readPage } from './pages.js';

export type { ApiKey, Tenant } from '../generated/prisma/client.js';

/** A key as callers hold it: 256 random bits behind a prefix that secret scanners can find. */
export const generateApiKey = (): string => `parley_${randomBytes(32).toString('base64url')}`;

/** What is stored of a key. A plain hash is enough for a secret that cannot be guessed. */
export const hashApiKey = (key: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array(createHash('sha256').update(key).digest());

const keyInput = z.object({
  tenantId: tenantIdSchema.nullish(),
  name: text(1, 128),
  scopes: listOfSome(scopes, 'must name at least one scope'),
  userId: z.int32().nullish(),
  expiresAt: instant()
    .refine((date) => date.getTime() > Date.now(), 'must be in the future')
    .nullish(),
});

/**
 * Makes a key; it is shown this once. Only an operator may make one for another tenant.
 * @throws ParleyError `not_found` for a tenant that the caller cannot see, `invalid_request`
 */
export async function createApiKey(context: Context, actor: Actor, input: unknown) {
  requireScope(actor, 'admin');
  const { tenantId, expiresAt, ...given } = parseInput(keyInput, input);
  const owner = tenantId ?? actor.tenantId;
  const isVisible = owner === actor.tenantId || actor.isOperator;
  if (!isVisible || !(await context.database.tenant.findUnique({ where: { id: owner } })))
    throw notFound('Tenant');
  const secret = generateApiKey();
  const apiKey = await context.database.apiKey.create({
    data: {
      ...given,
      tenantId: owner,
      id: newId(),
      secretHash: hashApiKey(secret),
      expiresAt: expiresAt ?? null,
    },
  });
  return { apiKey, secret };
}

/**
 * Ends a key: it opens nothing from now on (within the few seconds that credentials are cached).
 * Revoking a revoked key answers the same.
 */
export async function revokeApiKey(context: Context, actor: Actor, keyId: string): Promise<ApiKey> {
  requireScope(actor, 'admin');
  const id = decodeId('key', keyId);
  const where = { id: id ?? '', ...(!actor.isOperator && { tenantId: actor.tenantId }) };
  const key = id ? await context.database.apiKey.findFirst({ where }) : null;
  if (!key) throw notFound('API key');
  if (key.revokedAt) return key;
  return context.database.apiKey.update({
    where: { tenantId_id: { tenantId: key.tenantId, id: key.id } },
    data: { revokedAt: new Date() },
  });
}

/** The key of the caller's tenant, or null when it is absent or another tenant's. */
export async function getApiKey(context: Context, actor: Actor, keyId: string): Promise<ApiKey | null> {
  requireScope(actor, 'admin');
  const id = decodeId('key', keyId);
  if (!id) return null;
  return context.database.apiKey.findUnique({ where: { tenantId_id: { tenantId: actor.tenantId, id } } });
}

/** The keys of the caller's tenant, newest first, without their secrets. */
export async function listApiKeys(context: Context, actor: Actor, page: PageRequest) {
  requireScope(actor, 'admin');
  const list = { name: `${actor.tenantId}/keys`, order: newestFirst };
  return readPage(list, page, ({ where, ...query }) =>
    context.database.apiKey.findMany({ where: { tenantId: actor.tenantId, ...where }, ...query }),
  );
}

const tenantInput = z.object({ id: tenantIdSchema, name: text(1, 128) });

/**
 * Makes a tenant. For operators only: no other caller may learn which tenants there are.
 * @throws ParleyError `forbidden`, `invalid_request`, `conflict` when the id is taken
 */
export async function createTenant(context: Context, actor: Actor, input: unknown): Promise<Tenant> {
  requireScope(actor, 'admin');
  if (!actor.isOperator) throw forbidden("Only an administrator of the operator's tenant may create tenants");
  const { id, name } = parseInput(tenantInput, input);
  try {
    return await insertTenant(context.database, id, name);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'P2002' || sqlState(error) === '23505') {
      throw conflict('A tenant of this id exists already', [{ field: 'id', issue: 'is taken' }]);
    }
    throw error;
  }
}

const insertTenant = (database: Database, id: string, name: string) =>
  database.$transaction(async (transaction) => {
    const tenant = await transaction.tenant.create({ data: { id, name, counter: { create: {} } } });
    await transaction.dispatchCheckpoint.create({ data: { tenantId: id } });
    return tenant;
  });

/** Makes the tenant if it does not exist. */
export async function ensureTenant(database: Database, tenantId: string): Promise<void> {
  if (await database.tenant.findUnique({ where: { id: tenantId } })) return;
  await insertTenant(database, tenantId, tenantId).catch(ignoreTaken);
}

/** Makes sure, at start, that the operator's tenant and key exist. A key that was revoked stays revoked. */
export async function bootstrap(
  database: Database,
  tenantId: string,
  key: string,
): Promise<{ isRevoked: boolean }> {
  await ensureTenant(database, tenantId);
  const secretHash = hashApiKey(key);
  const data = { tenantId, id: newId(), name: 'bootstrap', secretHash, scopes: [...scopes] };
  await database.apiKey.createMany({ data: [data], skipDuplicates: true });
  const stored = await database.apiKey.findUnique({ where: { secretHash } });
  return { isRevoked: stored?.revokedAt != null };
}

/** Two processes that start together may both find the tenant missing. */
function ignoreTaken(error: unknown): void {
  if ((error as { code?: unknown }).code !== 'P2002') throw error;
}
