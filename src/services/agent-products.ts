import { z } from 'zod';
import { notFound } from '../errors.js';
import type { AgentProduct, Prisma } from '../generated/prisma/client.js';
import type { PageRequest } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { parseInput, text } from './input.js';
import { newestByCreation, readPage } from './pages.js';
import { configuration } from './workflow-conversations.js';

export type { AgentProduct } from '../generated/prisma/client.js';

const productInput = z.object({
  name: text(1, 255),
  description: text(0, 10_000).nullish(),
  configuration: configuration.nullish(),
});

/** Makes an agent product. @throws ParleyError `invalid_request` */
export async function createAgentProduct(
  context: Context,
  actor: Actor,
  input: unknown,
): Promise<AgentProduct> {
  requireScope(actor, 'conversations:write');
  const { name, description, configuration } = parseInput(productInput, input);
  return context.database.agentProduct.create({
    data: {
      tenantId: actor.tenantId,
      name,
      description: description ?? null,
      configuration: toJson(configuration) ?? {},
    },
  });
}

/** The product, or null when it is absent or another tenant's. */
export async function getAgentProduct(
  context: Context,
  actor: Actor,
  id: number,
): Promise<AgentProduct | null> {
  requireScope(actor, 'conversations:read');
  return context.database.agentProduct.findUnique({
    where: { tenantId_id: { tenantId: actor.tenantId, id } },
  });
}

/** The tenant's products, newest first. */
export async function listAgentProducts(context: Context, actor: Actor, page: PageRequest) {
  requireScope(actor, 'conversations:read');
  const list = { name: `${actor.tenantId}/products`, order: newestByCreation };
  return readPage(list, page, ({ where, ...query }) =>
    context.database.agentProduct.findMany({ where: { tenantId: actor.tenantId, ...where }, ...query }),
  );
}

/**
 * Changes what is given; a given configuration replaces the old, a null description removes it.
 * @throws ParleyError `not_found`, `invalid_request`
 */
export async function updateAgentProduct(context: Context, actor: Actor, id: number, input: unknown) {
  requireScope(actor, 'conversations:write');
  const { name, description, configuration } = parseInput(productInput.partial(), input);
  const { tenantId } = actor;
  const [product] = await context.database.agentProduct.updateManyAndReturn({
    where: { tenantId, id },
    data: {
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description }),
      ...(configuration != null && { configuration: toJson(configuration) as Prisma.InputJsonObject }),
      updatedAt: new Date(),
    },
  });
  if (!product) throw notFound('Agent product');
  return product;
}

/** Deletes a product; conversations and runs that had it go on without. @throws ParleyError `not_found` */
export async function deleteAgentProduct(context: Context, actor: Actor, id: number): Promise<number> {
  requireScope(actor, 'conversations:write');
  const { count } = await context.database.agentProduct.deleteMany({
    where: { tenantId: actor.tenantId, id },
  });
  if (count === 0) throw notFound('Agent product');
  return id;
}

const toJson = (value: object | null | undefined) => value as Prisma.InputJsonObject | undefined;
