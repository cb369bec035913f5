import { z } from 'zod';
import { runStatement, sqlState } from '../database/client.js';
import { conflict, invalidRequest, notFound } from '../errors.js';
import { APPEND_EVENTS } from '../events/append.js';
import type { AgentProductRun } from '../generated/prisma/client.js';
import type { List, PageRequest } from '../pagination.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';
import { jsonObject, parseInput, text } from './input.js';
import { readNestedPages } from './nested-pages.js';
import { newestByCreation, readPage } from './pages.js';

export type { AgentProductRun } from '../generated/prisma/client.js';

/** A run as lists read it: what it was given and made may be large, and is read when it is asked for. */
export type RunHead = Omit<AgentProductRun, 'inputData' | 'outputData'> &
  Partial<Pick<AgentProductRun, 'inputData' | 'outputData'>>;

const withoutData = { omit: { inputData: true, outputData: true } } as const;

const MAX_DATA_BYTES = 1_048_576;
const FOREIGN_KEY_VIOLATION = '23503';

const runData = jsonObject(MAX_DATA_BYTES);

const HEAD_COLUMNS = `id, tenant_id AS "tenantId", workflow_id AS "workflowId", agent_product_id AS "agentProductId",
  status::text AS status, start_time AS "startTime", end_time AS "endTime", duration_ms AS "durationMs",
  error_message AS "errorMessage", created_at AS "createdAt", updated_at AS "updatedAt"`;
const COLUMNS = `${HEAD_COLUMNS}, input_data AS "inputData", output_data AS "outputData"`;

const APPEND_RUN_UPDATED = `
new_event AS (
  SELECT r.tenant_id, 1 AS ordinal, 'run.updated' AS type, c.workflow_id, NULL::text AS participant_id,
         NULL::uuid AS thread_id, NULL::uuid AS message_id, r.workflow_id AS workflow_conversation_id,
         jsonb_build_object('runId', r.id, 'status', upper(r.status::text)) AS data
  FROM changed r
  LEFT JOIN workflow_conversations c ON c.tenant_id = r.tenant_id AND c.id = r.workflow_id
),
${APPEND_EVENTS}
SELECT ${COLUMNS} FROM changed`;

const createInput = z.object({
  workflowConversationId: z.int32(),
  agentProductId: z.int32().nullish(),
  inputData: runData.nullish(),
});

const CREATE = `
WITH changed AS (
  INSERT INTO agent_product_runs (tenant_id, workflow_id, agent_product_id, input_data)
  SELECT tenant_id, id, coalesce($3::int, agent_product_id), $4::jsonb
  FROM workflow_conversations
  WHERE tenant_id = $1 AND id = $2
  RETURNING *
),
${APPEND_RUN_UPDATED}`;

/**
 * Makes a run of a conversation, of the conversation's product unless another is named. It is READY.
 * @throws ParleyError `invalid_request`, naming a conversation or product that does not exist
 */
export async function createAgentProductRun(
  context: Context,
  actor: Actor,
  input: unknown,
): Promise<AgentProductRun> {
  requireScope(actor, 'conversations:write');
  const { workflowConversationId, agentProductId, inputData } = parseInput(createInput, input);
  const [run] = await runStatement<AgentProductRun>(
    context.database,
    CREATE,
    actor.tenantId,
    workflowConversationId,
    agentProductId ?? null,
    inputData ? JSON.stringify(inputData) : null,
  ).catch((error: unknown) => {
    if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error;
    throw invalidRequest([{ field: 'agentProductId', issue: 'is not the id of an agent product' }]);
  });
  if (!run) {
    throw invalidRequest([
      { field: 'workflowConversationId', issue: 'is not the id of a workflow conversation' },
    ]);
  }
  context.hints.ring();
  return run;
}

/** The run, or null when it is absent or another tenant's. */
export async function getAgentProductRun(
  context: Context,
  actor: Actor,
  id: number,
): Promise<RunHead | null> {
  requireScope(actor, 'conversations:read');
  return findRun(context, actor, id);
}

const findRun = (context: Context, actor: Actor, id: number) =>
  context.database.agentProductRun.findUnique({
    where: { tenantId_id: { tenantId: actor.tenantId, id } },
    ...withoutData,
  });

type Status = AgentProductRun['status'];

/** Where a run may go from where it is (design, section 9); from the other statuses nowhere. */
const moves: Partial<Record<Status, readonly Status[]>> = {
  ready: ['running', 'cancelled'],
  running: ['waiting_on_user', 'stopped', 'completed', 'failed', 'cancelled'],
  waiting_on_user: ['running', 'stopped', 'failed', 'cancelled'],
  stopped: ['running', 'cancelled'],
};

const status = z.enum(['ready', 'running', 'waiting_on_user', 'stopped', 'completed', 'failed', 'cancelled']);

const updateInput = z.object({
  expectedStatus: status,
  status,
  outputData: runData.nullish(),
  errorMessage: text(0, 10_000).nullish(),
});

/** A run starts when it first runs and ends when it stops in any way; a stopped one that goes on has not ended. */
const UPDATE = `
WITH changed AS (
  UPDATE agent_product_runs
  SET status = $4::agent_product_run_status,
      start_time = CASE WHEN $4 = 'running' THEN coalesce(start_time, now()) ELSE start_time END,
      end_time = CASE WHEN $7 THEN now() END,
      duration_ms = CASE WHEN $7 THEN (extract(epoch FROM now() - start_time) * 1000)::bigint END,
      output_data = coalesce($5::jsonb, output_data),
      error_message = coalesce($6, error_message),
      updated_at = greatest(updated_at, now())
  WHERE tenant_id = $1 AND id = $2 AND status = $3::agent_product_run_status
  RETURNING *
),
${APPEND_RUN_UPDATED}`;

const ended: ReadonlySet<Status> = new Set<Status>(['stopped', 'completed', 'failed', 'cancelled']);

/**
 * Moves a run from the status that the caller expects to another; of two racing changes exactly one wins. Start,
 * end and duration are kept here.
 * @throws ParleyError `not_found`; `conflict` for a stale or forbidden move, saying what the status is now
 */
export async function updateAgentProductRun(
  context: Context,
  actor: Actor,
  id: number,
  input: unknown,
): Promise<AgentProductRun> {
  requireScope(actor, 'conversations:write');
  const given = parseInput(updateInput, input);
  if (moves[given.expectedStatus]?.includes(given.status)) {
    const [run] = await runStatement<AgentProductRun>(
      context.database,
      UPDATE,
      actor.tenantId,
      id,
      given.expectedStatus,
      given.status,
      given.outputData ? JSON.stringify(given.outputData) : null,
      given.errorMessage ?? null,
      ended.has(given.status),
    );
    if (run) {
      context.hints.ring();
      return run;
    }
  }
  const run = await findRun(context, actor, id);
  if (!run) throw notFound('Agent product run');
  const move = `from ${given.expectedStatus.toUpperCase()} to ${given.status.toUpperCase()}`;
  throw conflict(`The run cannot be moved ${move}: it is ${run.status.toUpperCase()}`, [
    { field: 'expectedStatus', issue: `the run is ${run.status.toUpperCase()}` },
  ]);
}

const runList = (actor: Actor, conversationId: number): List => ({
  name: `${actor.tenantId}/conversations/${conversationId}/runs`,
  order: newestByCreation,
});

/** The runs of a conversation, newest first. */
export async function listAgentProductRuns(
  context: Context,
  actor: Actor,
  conversationId: number,
  page: PageRequest,
) {
  requireScope(actor, 'conversations:read');
  return readPage(runList(actor, conversationId), page, ({ where, ...query }) =>
    context.database.agentProductRun.findMany({
      where: { tenantId: actor.tenantId, workflowId: conversationId, ...where },
      ...query,
      ...withoutData,
    }),
  );
}

/** The runs of many conversations: for each the first page, in one statement. */
export function firstRunsOfConversations(
  context: Context,
  actor: Actor,
  conversationIds: readonly number[],
  request: PageRequest,
) {
  requireScope(actor, 'conversations:read');
  return readNestedPages<RunHead>(
    context.database,
    actor.tenantId,
    {
      table: 'agent_product_runs',
      columns: HEAD_COLUMNS,
      parent: { column: 'workflow_id', type: 'int' },
      orderBy: [
        { column: 'created_at', direction: 'DESC' },
        { column: 'id', direction: 'DESC' },
      ],
    },
    conversationIds.map((key) => ({ key, list: runList(actor, key) })),
    request,
  );
}
