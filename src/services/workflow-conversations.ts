import { z } from 'zod';
import { type Database, runStatement, sqlState } from '../database/client.js';
import { conflict, invalidRequest, notFound } from '../errors.js';
import { APPEND_EVENTS } from '../events/append.js';
import type { WorkflowConversation } from '../generated/prisma/client.js';
import type { PageRequest } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { jsonObject, parseInput, text } from './input.js';
import { newestByCreation, readPage } from './pages.js';

export type { WorkflowConversation } from '../generated/prisma/client.js';

/** The part of the services' context that conversations need; a program without a server has just this. */
export type ConversationContext = Pick<Context, 'database' | 'hints'>;

/**
 * The documented members of a configuration; it may hold any others.
 * Source: `YpWorkflowConversationConfiguration` of the workflow-conversation model document.
 */
export interface WorkflowConversationConfiguration {
  /** The conversation is running when this is the boolean true, and only then. */
  readonly running?: unknown;
  /** What kind of workflow it configures. */
  readonly type?: unknown;
  readonly [member: string]: unknown;
}

const MAX_CONFIGURATION_BYTES = 65_536;
const FOREIGN_KEY_VIOLATION = '23503';

/** Any JSON object up to 64 KB. */
export const configuration = jsonObject(MAX_CONFIGURATION_BYTES);

/** A 32-bit whole number, as the documented integer ids are. */
const integerId = z.int32();

const createInput = z.object({
  agentProductId: integerId,
  userId: integerId.nullish(),
  configuration: configuration.nullish(),
  workflowId: text(1, 128).nullish(),
});

/** What every statement below returns: the row as Prisma has it. */
const COLUMNS = `id, tenant_id AS "tenantId", workflow_id AS "workflowId", agent_product_id AS "agentProductId",
  user_id AS "userId", configuration, running, created_at AS "createdAt", updated_at AS "updatedAt"`;

/** The end of every statement that changes conversations: one event of type `$2` for each of `changed`. */
const APPEND_CHANGES = `
new_event AS (
  SELECT tenant_id, id AS ordinal, $2::text AS type, workflow_id, NULL::text AS participant_id,
         NULL::uuid AS thread_id, NULL::uuid AS message_id, id AS workflow_conversation_id, NULL::jsonb AS data
  FROM changed
),
${APPEND_EVENTS}
SELECT ${COLUMNS} FROM changed`;

/** The id is drawn first, because the default `workflowId` is made of it. */
const CREATE = `
WITH drawn AS (
  SELECT nextval(pg_get_serial_sequence('workflow_conversations', 'id'))::int AS id
),
changed AS (
  INSERT INTO workflow_conversations (id, tenant_id, workflow_id, agent_product_id, user_id, configuration)
  SELECT id, $1, coalesce($3, 'workflow_' || id), $4::int, $5::int, $6::jsonb FROM drawn
  ON CONFLICT (tenant_id, workflow_id) DO NOTHING
  RETURNING *
),
${APPEND_CHANGES}`;

/**
 * Creates a workflow conversation. Without a `workflowId` it gets `workflow_<id>`; if that is taken, the next
 * id is drawn.
 * @throws ParleyError `invalid_request` also for a product that does not exist; `conflict` for a taken workflowId
 */
export async function createWorkflowConversation(
  context: ConversationContext,
  actor: Actor,
  input: unknown,
): Promise<WorkflowConversation> {
  requireScope(actor, 'conversations:write');
  const given = parseInput(createInput, input);
  for (;;) {
    const created = await change(context, CREATE, [
      actor.tenantId,
      'conversation.created',
      given.workflowId ?? null,
      given.agentProductId,
      given.userId ?? null,
      JSON.stringify(given.configuration ?? {}),
    ]);
    if (created) return created;
    if (given.workflowId) {
      throw conflict('A conversation of this workflowId exists already', [
        { field: 'workflowId', issue: 'is taken' },
      ]);
    }
  }
}

/** The conversation, or null when it is absent or another tenant's. */
export async function getWorkflowConversation(
  context: ConversationContext,
  actor: Actor,
  id: number,
): Promise<WorkflowConversation | null> {
  requireScope(actor, 'conversations:read');
  return context.database.workflowConversation.findUnique({
    where: { tenantId_id: { tenantId: actor.tenantId, id } },
  });
}

const updateInput = z.strictObject({
  agentProductId: integerId.nullable().optional(),
  userId: integerId.nullable().optional(),
  configuration: configuration.optional(),
});

const UPDATE = `
WITH changed AS (
  UPDATE workflow_conversations
  SET agent_product_id = CASE WHEN $4 THEN $5::int ELSE agent_product_id END,
      user_id = CASE WHEN $6 THEN $7::int ELSE user_id END,
      configuration = coalesce($8::jsonb, configuration),
      updated_at = greatest(updated_at, now())
  WHERE tenant_id = $1 AND id = $3
  RETURNING *
),
${APPEND_CHANGES}`;

/**
 * Assigns `agentProductId`, `userId` and `configuration`, as far as given; a given configuration replaces the
 * old. Any other member is refused by name and nothing is changed.
 * @throws ParleyError `not_found`, `invalid_request`
 */
export async function updateWorkflowConversation(
  context: ConversationContext,
  actor: Actor,
  id: number,
  updates: unknown,
): Promise<WorkflowConversation> {
  requireScope(actor, 'conversations:write');
  const { agentProductId, userId, configuration } = parseInput(updateInput, updates);
  const updated = await change(context, UPDATE, [
    actor.tenantId,
    'conversation.updated',
    id,
    agentProductId !== undefined,
    agentProductId ?? null,
    userId !== undefined,
    userId ?? null,
    configuration === undefined ? null : JSON.stringify(configuration),
  ]);
  if (!updated) throw notFound('Workflow conversation');
  return updated;
}

const CONNECT = `
WITH changed AS (
  UPDATE workflow_conversations
  SET configuration = configuration || $4::jsonb, updated_at = greatest(updated_at, now())
  WHERE tenant_id = $1 AND id = $3
  RETURNING *
),
${APPEND_CHANGES}`;

/**
 * Merges connection data into the configuration: its members win, members that it lacks stay, nulls are kept.
 * One atomic statement, so parallel connects keep one another's members.
 * @throws ParleyError `not_found`; `invalid_request` also when the merged configuration is over 64 KB
 */
export async function connectToWorkflowConversation(
  context: ConversationContext,
  actor: Actor,
  id: number,
  connectionData: unknown,
): Promise<WorkflowConversation> {
  requireScope(actor, 'conversations:write');
  const { connectionData: given } = parseInput(z.object({ connectionData: configuration }), {
    connectionData,
  });
  const connected = await context.database.$transaction(async (transaction) => {
    const values = [actor.tenantId, 'conversation.connected', id, JSON.stringify(given)];
    const [merged] = await runStatement<WorkflowConversation>(transaction, CONNECT, ...values);
    if (!merged) throw notFound('Workflow conversation');
    if (Buffer.byteLength(JSON.stringify(merged.configuration)) > MAX_CONFIGURATION_BYTES) {
      throw invalidRequest([
        {
          field: 'connectionData',
          issue: `would make the configuration larger than ${MAX_CONFIGURATION_BYTES} bytes`,
        },
      ]);
    }
    return merged;
  });
  context.hints.ring();
  return connected;
}

/** Conversations newest first, ties by id; filters are ANDed. */
export async function listWorkflowConversations(
  context: ConversationContext,
  actor: Actor,
  filter: { userId?: number | null; running?: boolean | null; agentProductId?: number | null },
  page: PageRequest,
) {
  requireScope(actor, 'conversations:read');
  const list = { name: `${actor.tenantId}/conversations`, order: newestByCreation };
  return readPage(list, page, ({ where, ...query }) =>
    context.database.workflowConversation.findMany({
      where: { ...conversationWhere(actor, filter), ...where },
      ...query,
    }),
  );
}

/** All conversations of a user, newest first. */
export const getWorkflowConversationsForUser = (context: ConversationContext, actor: Actor, userId: number) =>
  allOfUser(context, actor, { userId });

/** The running conversations of a user (`configuration.running` is true), newest first. */
export const getRunningWorkflowConversationsForUser = (
  context: ConversationContext,
  actor: Actor,
  userId: number,
) => allOfUser(context, actor, { userId, running: true });

async function allOfUser(
  context: ConversationContext,
  actor: Actor,
  filter: { userId: number; running?: boolean },
): Promise<WorkflowConversation[]> {
  requireScope(actor, 'conversations:read');
  return context.database.workflowConversation.findMany({
    where: conversationWhere(actor, filter),
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
  });
}

function conversationWhere(
  actor: Actor,
  filter: { userId?: number | null; running?: boolean | null; agentProductId?: number | null },
) {
  return {
    tenantId: actor.tenantId,
    ...(filter.userId != null && { userId: filter.userId }),
    ...(filter.running != null && { running: filter.running }),
    ...(filter.agentProductId != null && { agentProductId: filter.agentProductId }),
  };
}

const DELETE = `
WITH changed AS (
  DELETE FROM workflow_conversations WHERE tenant_id = $1 AND id = $3 RETURNING *
),
${APPEND_CHANGES}`;

/** Deletes a conversation; its runs go on without it, its threads stay. @throws ParleyError `not_found` */
export async function deleteWorkflowConversation(
  context: ConversationContext,
  actor: Actor,
  id: number,
): Promise<number> {
  requireScope(actor, 'conversations:write');
  if (!(await change(context, DELETE, [actor.tenantId, 'conversation.deleted', id]))) {
    throw notFound('Workflow conversation');
  }
  return id;
}

async function change(
  context: ConversationContext,
  statement: string,
  values: readonly unknown[],
): Promise<WorkflowConversation | null> {
  const [row] = await runChange(context.database, statement, values);
  if (row) context.hints.ring();
  return row ?? null;
}

async function runChange(database: Database, statement: string, values: readonly unknown[]) {
  try {
    return await runStatement<WorkflowConversation>(database, statement, ...values);
  } catch (error) {
    if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error;
    throw invalidRequest([{ field: 'agentProductId', issue: 'is not the id of an agent product' }]);
  }
}
