import { type Database, runStatement } from '../../database/client.js';
import { rowsOfLists } from '../../database/lists.js';
import type { StoredMessage } from './statement.js';

/** The message that was stored under a key, with the hash of the input it was stored for. */
export interface KeptAnswer extends StoredMessage {
  readonly tenantId: string;
  readonly direction: 'inbound' | 'outbound';
  readonly key: string;
  readonly inputHash: string;
}

const FIND_KEPT_ANSWERS = `
SELECT k.tenant_id AS "tenantId", k.direction::text AS direction, k.key, encode(k.input_hash, 'hex') AS "inputHash",
       m.id AS "messageId", m.thread_id AS "threadId", m.position, m.created_at AS "createdAt"
FROM ${rowsOfLists('text, message_direction, text')} AS i (tenant_id, direction, key)
JOIN idempotency_key k ON k.tenant_id = i.tenant_id AND k.direction = i.direction AND k.key = i.key
JOIN conversation_message m ON m.tenant_id = k.tenant_id AND m.id = k.message_id`;

/** The first answers given to these keys, as far as their messages still exist. */
export function findKeptAnswers(
  database: Database,
  keys: readonly { tenantId: string; direction: string; idempotencyKey: string | null }[],
): Promise<KeptAnswer[]> {
  return runStatement<KeptAnswer>(
    database,
    FIND_KEPT_ANSWERS,
    keys.map((key) => key.tenantId),
    keys.map((key) => key.direction),
    keys.map((key) => key.idempotencyKey),
  );
}
