import { z } from 'zod';
import { runStatement } from '../database/client.js';
import { generateSecret } from '../delivery/signing.js';
import { notFound } from '../errors.js';
import type { WorkflowHandler } from '../generated/prisma/client.js';
import { decodeId, newId } from '../ids.js';
import type { PageRequest } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import type { Lane } from './deliveries/dispatch.js';
import { DELIVERED_OR } from './deliveries/settle.js';
import { type Check, parseInput, text } from './input.js';
import { newestFirst, readPage } from './pages.js';
import { secret, targetFault, targetUrl } from './webhooks.js';

export type { WorkflowHandler } from '../generated/prisma/client.js';

/** The `workflowId` of the tenant's default handler. */
export const DEFAULT_WORKFLOW = '*';

const handlerInput = z.object({
  workflowId: text(1, 128),
  kind: z.enum(['http', 'queue'], 'must be HTTP or QUEUE'),
  url: targetUrl.nullish(),
  queue: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 of A-Z, a-z, 0-9, _ and -')
    .nullish(),
  secret: secret.nullish(),
  deliverPending: z.boolean().nullish(),
});

/** What each kind needs, and what would be without effect. */
const kindFault: Check = (input) => {
  const isQueue = input.kind === 'queue';
  const [needed, pointless] = isQueue ? ['queue', ['url', 'secret']] : ['url', ['queue']];
  return [
    ...(input[needed] == null
      ? [{ field: needed, issue: `is required for ${isQueue ? 'QUEUE' : 'HTTP'}` }]
      : []),
    ...pointless
      .filter((field) => input[field] != null)
      .map((field) => ({ field, issue: `cannot be set for ${isQueue ? 'QUEUE' : 'HTTP'}` })),
  ];
};

/** Registering again replaces; the id is a new one, so that an old secret opens nothing. */
const REPLACE_HANDLER = `
INSERT INTO workflow_handler AS h (tenant_id, id, workflow_id, kind, url, queue, sealed_secret, after_sequence)
VALUES ($1, $2::uuid, $3, $4::workflow_handler_kind, $5, $6, $7,
        CASE WHEN $8 THEN 0 ELSE (SELECT last_sequence FROM tenant_counter WHERE tenant_id = $1) END)
ON CONFLICT (tenant_id, workflow_id) DO UPDATE
SET id = excluded.id, kind = excluded.kind, url = excluded.url, queue = excluded.queue,
    sealed_secret = excluded.sealed_secret, after_sequence = excluded.after_sequence, updated_at = now()`;

/** While it is held no signal is made: those of before are seen, and those after see the handler. */
const HOLD_DISPATCH = 'SELECT sequence FROM dispatch_checkpoint WHERE tenant_id = $1 FOR UPDATE';

/** Pending signals that would now go to this handler. */
const PENDING_FOR_HANDLER = `
tenant_id = $1 AND kind = 'signal' AND status = 'pending'
AND (workflow_id = $2 OR ($2 = '${DEFAULT_WORKFLOW}' AND workflow_id NOT IN (
  SELECT workflow_id FROM workflow_handler WHERE tenant_id = $1)))`;

/**
 * A claimed signal without a handler is just being parked. One that is being sent to the handler of before settles, unless
 * its worker is gone.
 */
const CANCEL_PENDING = `
UPDATE delivery d SET status = ${DELIVERED_OR('cancelled')}, lease_token = NULL
WHERE ${PENDING_FOR_HANDLER} AND (lease_token IS NULL OR due_at <= now() OR NOT EXISTS (
  SELECT 1 FROM workflow_handler h WHERE h.tenant_id = $1 AND h.workflow_id IN (d.workflow_id, '${DEFAULT_WORKFLOW}')
))`;

/** A signal that is being parked at this moment is missed here, and found by the sweeper. */
const RELEASE_PARKED = `
WITH released AS (
  UPDATE delivery SET due_at = now() WHERE due_at IS NULL AND ${PENDING_FOR_HANDLER}
  RETURNING tenant_id, lane_id, workflow_id
)
SELECT tenant_id AS "tenantId", lane_id AS "laneId", workflow_id AS "workflowId" FROM released LIMIT $3`;

/** The sweeper rings for the rest. */
const LANES_RUNG_AT_ONCE = 1_000;

/**
 * Says where the signals of a workflow go; `*` is the tenant's default. Signals that waited for a handler go
 * out now, or are cancelled with `deliverPending: false`.
 * @returns the handler, and the secret only when it was generated
 */
export async function registerWorkflowHandler(
  context: Context,
  actor: Actor,
  input: unknown,
): Promise<{ workflowHandler: WorkflowHandler; secret: string | null }> {
  requireScope(actor, 'workflows:manage');
  const given = parseInput(handlerInput, input, kindFault, targetFault(context));
  const { workflowId, kind, url = null, queue = null } = given;
  const { tenantId } = actor;
  const id = newId();
  const signingSecret = kind === 'http' ? (given.secret ?? generateSecret()) : null;
  const sealed = signingSecret && context.secrets.seal(signingSecret, handlerSecretContext(id));
  const { database } = context;
  const deliverPending = given.deliverPending ?? true;
  const handler = [tenantId, id, workflowId, kind, url, queue, sealed, deliverPending];
  await database.$transaction([
    ...(deliverPending
      ? []
      : [
          database.$queryRawUnsafe(HOLD_DISPATCH, tenantId),
          database.$queryRawUnsafe(CANCEL_PENDING, tenantId, workflowId),
        ]),
    database.$queryRawUnsafe(REPLACE_HANDLER, ...handler),
  ]);
  context.ringLanes(
    await runStatement<Lane>(database, RELEASE_PARKED, tenantId, workflowId, LANES_RUNG_AT_ONCE),
  );
  const workflowHandler = await database.workflowHandler.findUniqueOrThrow({
    where: { tenantId_id: { tenantId, id } },
  });
  return { workflowHandler, secret: given.secret ? null : signingSecret };
}

/** What a handler's stored secret is bound to, so that it opens for no other row. */
export const handlerSecretContext = (id: string) => `handler:${id}`;

export async function listWorkflowHandlers(context: Context, actor: Actor, page: PageRequest) {
  requireScope(actor, 'workflows:manage');
  const list = { name: `${actor.tenantId}/handlers`, order: newestFirst };
  return readPage(list, page, ({ where, ...query }) =>
    context.database.workflowHandler.findMany({ where: { tenantId: actor.tenantId, ...where }, ...query }),
  );
}

/** The handler, or null when it is absent or another tenant's. */
export async function getWorkflowHandler(context: Context, actor: Actor, handlerId: string) {
  requireScope(actor, 'workflows:manage');
  const id = decodeId('handler', handlerId);
  if (!id) return null;
  return context.database.workflowHandler.findUnique({
    where: { tenantId_id: { tenantId: actor.tenantId, id } },
  });
}

/**
 * From now on signals of this workflow go to the default handler, or wait.
 * @throws ParleyError `not_found`
 */
export async function deleteWorkflowHandler(
  context: Context,
  actor: Actor,
  handlerId: string,
): Promise<string> {
  requireScope(actor, 'workflows:manage');
  const id = decodeId('handler', handlerId);
  const { count } = id
    ? await context.database.workflowHandler.deleteMany({ where: { tenantId: actor.tenantId, id } })
    : { count: 0 };
  if (count === 0) throw notFound('Workflow handler');
  return handlerId;
}
