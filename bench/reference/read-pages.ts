export const PAGE_SIZE = 20;

export interface PageRow {
  threadId: string;
  workflowId: string;
  participantId: string;
  status: string;
  updatedAt: Date;
  id: string;
  position: number;
  direction: string;
  channel: string;
  channelKey: string;
  content: object;
  messageStatus: string;
  createdAt: Date;
}

const MESSAGE = `
m.id, m.position, m.direction, m.channel, m.channel_key AS "channelKey", m.content, m.status AS "messageStatus",
m.created_at AS "createdAt"`;

/** A thread with its first messages, and one more to see whether there is another page. $1 tenant, $2 thread */
export const PAGE_OF_THREAD = `
SELECT t.id AS "threadId", t.workflow_id AS "workflowId", t.participant_id AS "participantId", t.status,
       t.updated_at AS "updatedAt", ${MESSAGE}
FROM conversation_thread t
CROSS JOIN LATERAL (
  SELECT * FROM conversation_message m
  WHERE m.tenant_id = t.tenant_id AND m.thread_id = t.id
  ORDER BY m.position
  LIMIT ${PAGE_SIZE + 1}
) m
WHERE t.tenant_id = $1 AND t.id = $2`;

export type ListRow = PageRow & { messageCount: number };

/** The threads that changed last, each with its last message. $1 tenant */
export const LIST_OF_THREADS = `
SELECT t.id AS "threadId", t.workflow_id AS "workflowId", t.participant_id AS "participantId", t.status,
       t.updated_at AS "updatedAt", t.last_position AS "messageCount", ${MESSAGE}
FROM (
  SELECT * FROM conversation_thread WHERE tenant_id = $1 ORDER BY updated_at DESC, id DESC LIMIT ${PAGE_SIZE + 1}
) t
JOIN conversation_message m ON m.tenant_id = t.tenant_id AND m.thread_id = t.id AND m.position = t.last_position
ORDER BY t.updated_at DESC, t.id DESC`;

const messageOf = ({
  id,
  position,
  direction,
  channel,
  channelKey,
  content,
  messageStatus,
  createdAt,
}: PageRow) => ({
  id: `message_${id}`,
  position,
  direction: direction.toUpperCase(),
  channel,
  channelKey,
  content,
  status: messageStatus.toUpperCase(),
  createdAt,
});

const threadOf = ({ threadId, workflowId, participantId, status, updatedAt }: PageRow) => ({
  id: `thread_${threadId}`,
  workflowId,
  participantId,
  status: status.toUpperCase(),
  updatedAt,
});

const cursorOf = (place: string | number): string => Buffer.from(String(place)).toString('base64url');

/** What Parley's GraphQL answers to the query of the case, cursors as far as a list needs them. */
export function toPage(rows: readonly PageRow[]) {
  const [first] = rows;
  if (!first) return { data: { thread: null } };
  const edges = rows
    .slice(0, PAGE_SIZE)
    .map((row) => ({ cursor: cursorOf(row.position), node: messageOf(row) }));
  const pageInfo = { hasNextPage: rows.length > PAGE_SIZE, endCursor: edges.at(-1)?.cursor ?? null };
  return { data: { thread: { ...threadOf(first), messages: { edges, pageInfo } } } };
}

export function toList(rows: readonly ListRow[]) {
  const edges = rows.slice(0, PAGE_SIZE).map((row) => ({
    cursor: cursorOf(`${row.updatedAt.toISOString()} ${row.threadId}`),
    node: { ...threadOf(row), messageCount: row.messageCount, lastMessage: messageOf(row) },
  }));
  const pageInfo = { hasNextPage: rows.length > PAGE_SIZE, endCursor: edges.at(-1)?.cursor ?? null };
  return { data: { threads: { edges, pageInfo } } };
}
