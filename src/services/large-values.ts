import { runStatement } from '../database/client.js';
import { notFound, ParleyError } from '../errors.js';
import type { Actor } from './actor.js';
import type { AgentProductRun } from './agent-product-runs.js';
import type { Context } from './context.js';
import type { Message, MessageHead } from './message-heads.js';

const MEGABYTE = 1024 * 1024;
/** What one answer may hold of values that may be large, in bytes as JSON, however many rows it is about. */
const MAX_ANSWER_BYTES = 32 * MEGABYTE;

/** What is left of an answer's room; one for each operation. */
export interface AnswerBudget {
  bytesLeft: number;
}

export const createAnswerBudget = (): AnswerBudget => ({ bytesLeft: MAX_ANSWER_BYTES });

/** The first value of an answer goes in whatever its size, or it could never be read. */
function take(budget: AnswerBudget, bytes: number): boolean {
  const fits = bytes <= budget.bytesLeft || budget.bytesLeft === MAX_ANSWER_BYTES;
  if (fits) budget.bytesLeft -= bytes;
  return fits;
}

const tooLarge = (field: string) =>
  new ParleyError('payload_too_large', 'The answer would be too large: ask for fewer objects', [
    { field, issue: `would make the answer hold more than ${MAX_ANSWER_BYTES / MEGABYTE} MB of such values` },
  ]);

const CONTENTS = `
SELECT id, content FROM conversation_message WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`;

/** The content of each message, or why it is not in the answer: there is no room, or the message is gone by now. */
export async function contentsOfMessages(
  context: Context,
  actor: Actor,
  messages: readonly MessageHead[],
  budget: AnswerBudget,
): Promise<(Message['content'] | Error)[]> {
  const fitting = messages.filter(({ contentBytes }) => take(budget, contentBytes)).map(({ id }) => id);
  const rows =
    fitting.length === 0
      ? []
      : await runStatement<Pick<Message, 'id' | 'content'>>(
          context.database,
          CONTENTS,
          actor.tenantId,
          fitting,
        );
  const contents = new Map(rows.map(({ id, content }) => [id, content]));
  const wanted = new Set(fitting);
  return messages.map(({ id }) =>
    wanted.has(id) ? (contents.get(id) ?? notFound('Message')) : tooLarge('content'),
  );
}

/** What a run was given and what it made. */
export type RunData = Pick<AgentProductRun, 'inputData' | 'outputData'>;

/** No column says how large the data is, so it is measured where it lies, and what there is no room for stays there. */
const RUN_DATA = `
SELECT id, bytes, fits, CASE WHEN fits THEN input_data END AS "inputData", CASE WHEN fits THEN output_data END AS "outputData"
FROM (
  SELECT *, sum(bytes) OVER (ORDER BY id DESC) <= $3::bigint AS fits
  FROM (
    SELECT id, input_data, output_data,
           coalesce(octet_length(input_data::text), 0) + coalesce(octet_length(output_data::text), 0) AS bytes
    FROM agent_product_runs
    WHERE tenant_id = $1 AND id = ANY ($2::int[])
  ) AS measured
) AS run`;

/** The data of each run, or why it is not in the answer, as for messages. */
export async function dataOfRuns(
  context: Context,
  actor: Actor,
  ids: readonly number[],
  budget: AnswerBudget,
): Promise<(RunData | Error)[]> {
  const rows = await runStatement<RunData & { id: number; bytes: number; fits: boolean }>(
    context.database,
    RUN_DATA,
    actor.tenantId,
    ids,
    Math.max(0, budget.bytesLeft),
  );
  const data = new Map(
    rows.map(({ id, bytes, fits, ...run }) => [
      id,
      fits && take(budget, bytes) ? run : tooLarge('agentProductRun'),
    ]),
  );
  return ids.map((id) => data.get(id) ?? notFound('Agent product run'));
}
