import { type Database, runStatement } from '../../database/client.js';
import { rowsOfLists } from '../../database/lists.js';
import { APPEND_EVENTS } from '../../events/append.js';
import type { Message } from '../../generated/prisma/client.js';
import type { NewAttachment } from '../attachments.js';

/** One message on its way into the log, already checked. Ids are UUIDs chosen by the caller. */
export interface NewMessage {
  readonly tenantId: string;
  readonly direction: 'inbound' | 'outbound';
  readonly workflowId: string;
  readonly participantId: string;
  /** Set when the caller named the thread: the message must land in this one or nowhere. */
  readonly expectedThreadId: string | null;
  /** The id of the thread if this message turns out to be its first. */
  readonly newThreadId: string;
  readonly messageId: string;
  readonly channel: string;
  readonly channelKey: string;
  /** JSON text, without the bytes of attachments. */
  readonly content: string;
  /** The words of the content that a search finds it by. */
  readonly searchText: string;
  readonly attachments: readonly NewAttachment[];
  /** JSON text. */
  readonly metadata: string;
  readonly idempotencyKey: string | null;
  /** SHA-256 of the canonical input, in hex. */
  readonly inputHash: string | null;
}

export interface StoredMessage {
  readonly messageId: string;
  readonly threadId: string;
  readonly position: number;
  readonly createdAt: Date;
}

/** What is answered of a message; more of one whose tenant's log is followed here. */
export interface StoredRow extends StoredMessage {
  /** It opened its thread, or opened it again. */
  readonly activates?: boolean;
  /** The number of the tenant's last event of this commit. */
  readonly lastSequence?: bigint | null;
  /** As it is kept; null when it is large. */
  readonly content?: NonNullable<Message['content']> | null;
  readonly metadata?: NonNullable<Message['metadata']> | null;
}

/** What some message of a batch has. */
interface Parts {
  readonly hasKeys: boolean;
  readonly hasFiles: boolean;
  readonly isFollowed: boolean;
}

/** How the statement begins, up to the threads as they are upserted: for a batch, and shorter for one message. */
interface Beginning {
  readonly input: string;
  /** The place of a message among those of its thread, counted from the last one. */
  readonly placeInThread: string;
  readonly threads: string;
}

const OF_MANY: Beginning = {
  input: `
  SELECT * FROM ${rowsOfLists('text, message_direction, text, text, uuid, uuid, uuid, text, text, text, text, text, text, text')} WITH ORDINALITY AS i (
    tenant_id, direction, workflow_id, participant_id, expected_thread_id, new_thread_id, message_id,
    channel, channel_key, content, search_text, metadata, idempotency_key, input_hash, ordinal
  )`,
  placeInThread:
    'row_number() OVER (PARTITION BY tenant_id, workflow_id, participant_id ORDER BY ordinal DESC)',
  threads: `
  SELECT tenant_id, (array_agg(new_thread_id ORDER BY ordinal))[1], workflow_id, participant_id,
         'active', '{}', now(), now(), count(*),
         (array_agg(channel ORDER BY ordinal DESC) FILTER (WHERE direction = 'inbound'))[1],
         (array_agg(channel_key ORDER BY ordinal DESC) FILTER (WHERE direction = 'inbound'))[1],
         (array_agg(message_id ORDER BY ordinal))[1]
  FROM accepted
  GROUP BY tenant_id, workflow_id, participant_id
  ORDER BY tenant_id, workflow_id, participant_id`,
};

const OF_ONE: Beginning = {
  input: `
  SELECT ($1::text[])[1] AS tenant_id, ($2::message_direction[])[1] AS direction, ($3::text[])[1] AS workflow_id,
         ($4::text[])[1] AS participant_id, ($5::uuid[])[1] AS expected_thread_id, ($6::uuid[])[1] AS new_thread_id,
         ($7::uuid[])[1] AS message_id, ($8::text[])[1] AS channel, ($9::text[])[1] AS channel_key,
         ($10::text[])[1] AS content, ($11::text[])[1] AS search_text, ($12::text[])[1] AS metadata,
         ($13::text[])[1] AS idempotency_key, ($14::text[])[1] AS input_hash, 1 AS ordinal`,
  placeInThread: '1',
  threads: `
  SELECT tenant_id, new_thread_id, workflow_id, participant_id, 'active', '{}', now(), now(), 1,
         CASE WHEN direction = 'inbound' THEN channel END,
         CASE WHEN direction = 'inbound' THEN channel_key END,
         message_id
  FROM accepted`,
};

const TAKE_KEYS = `
taken_key AS (
  INSERT INTO idempotency_key (tenant_id, direction, key, input_hash, message_id)
  SELECT tenant_id, direction, idempotency_key, decode(input_hash, 'hex'), message_id
  FROM input
  WHERE idempotency_key IS NOT NULL
  ORDER BY tenant_id, direction, idempotency_key, ordinal
  ON CONFLICT DO NOTHING
  RETURNING message_id
),`;

const STORE_FILES = `
attached AS (
  INSERT INTO conversation_attachment (tenant_id, id, message_id, filename, content_type, size, sha256, data)
  SELECT p.tenant_id, f.id, f.message_id, f.filename, f.content_type, octet_length(f.data), sha256(f.data), f.data
  FROM (
    SELECT id, message_id, filename, content_type, decode(data, 'base64') AS data
    FROM unnest($15::uuid[], $16::uuid[], $17::text[], $18::text[], $19::text[])
      AS a (message_id, id, filename, content_type, data)
    OFFSET 0 -- keeps the bytes from being decoded for every use of them
  ) AS f
  JOIN placed p ON p.message_id = f.message_id
),`;

/** A larger content is left to the reader of the log. */
const MAX_TOLD_BYTES = 64 * 1024;

/** The end of the statement that answers with what the events are made of, for the tenants of this parameter, its last. */
const tellEvents = (parameter: number) => `,
       p.activates, c.last_sequence AS "lastSequence",
       CASE WHEN c.tenant_id IS NOT NULL AND octet_length(p.content) <= ${MAX_TOLD_BYTES} THEN p.content::jsonb END AS content,
       CASE WHEN c.tenant_id IS NOT NULL THEN p.metadata::jsonb END AS metadata
FROM placed p
LEFT JOIN counter c ON c.tenant_id = p.tenant_id AND c.tenant_id = ANY ($${parameter}::text[])`;

/**
 * Stores many messages in one statement, and so in one commit: idempotency keys, threads (created, touched or
 * reactivated), messages with their attachments, `created` log rows, events.
 *
 * Locks are taken keys → threads → counters, each part sorted and reading from the one before it, because the
 * parts of a data-modifying WITH otherwise run in no fixed order and deadlock. A message whose key is taken
 * is left out of the answer. A message whose named thread has been deleted meanwhile has no thread to go to:
 * the null breaks the column's constraint and with it the whole statement.
 *
 * Each part takes time also when it has nothing to do, so there is a text without the rarer ones, and for one message
 * a text that groups and numbers nothing.
 */
const storeMessagesText = (
  { input, placeInThread, threads }: Beginning,
  { hasKeys, hasFiles, isFollowed }: Parts,
) => `
WITH input AS (${input}
),
${hasKeys ? TAKE_KEYS : ''}
accepted AS (
  SELECT *, ${placeInThread} AS place
  FROM input
  ${hasKeys ? 'WHERE idempotency_key IS NULL OR message_id IN (SELECT message_id FROM taken_key)' : ''}
),
touched AS (
  INSERT INTO conversation_thread AS t (
    tenant_id, id, workflow_id, participant_id, status, metadata, created_at, updated_at, last_position,
    reply_channel, reply_channel_key, activated_by
  )${threads}
  ON CONFLICT (tenant_id, workflow_id, participant_id) DO UPDATE SET
    last_position = t.last_position + excluded.last_position,
    updated_at = greatest(t.updated_at, excluded.updated_at),
    status = 'active',
    activated_by = CASE WHEN t.status = 'active' THEN t.activated_by ELSE excluded.activated_by END,
    reply_channel = coalesce(excluded.reply_channel, t.reply_channel),
    reply_channel_key = coalesce(excluded.reply_channel_key, t.reply_channel_key)
  RETURNING t.tenant_id, t.id, t.workflow_id, t.participant_id, t.metadata, t.last_position, t.activated_by
),
placed AS (
  SELECT a.tenant_id, a.ordinal, a.direction, a.message_id, a.channel, a.channel_key, a.content,
         a.search_text, a.metadata, t.id AS thread_id, t.workflow_id, t.participant_id, t.metadata AS thread_metadata,
         a.expected_thread_id IS NULL OR a.expected_thread_id = t.id AS in_expected_thread,
         (t.last_position + 1 - a.place)::int AS position,
         t.activated_by = a.message_id AS activates,
         t.id = a.new_thread_id AS creates
  FROM accepted a
  JOIN touched t ON t.tenant_id = a.tenant_id AND t.workflow_id = a.workflow_id
                AND t.participant_id = a.participant_id
),
stored AS (
  INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key,
                                    content, content_bytes, search, status, metadata, created_at)
  SELECT tenant_id, message_id, CASE WHEN in_expected_thread THEN thread_id END, position, direction, channel,
         channel_key, content::jsonb, octet_length(content), to_tsvector('simple', search_text), 'sent',
         metadata::jsonb, now()
  FROM placed
  ORDER BY ordinal
),
${hasFiles ? STORE_FILES : ''}
logged AS (
  INSERT INTO conversation_message_log (tenant_id, message_id, timestamp, event)
  SELECT tenant_id, message_id, now(), 'created' FROM placed
),
channels AS (
  INSERT INTO conversation_thread_channel (tenant_id, thread_id, channel)
  SELECT DISTINCT tenant_id, thread_id, channel FROM placed
  ON CONFLICT DO NOTHING
),
new_event AS (
  SELECT tenant_id, 2 * ordinal AS ordinal,
         CASE WHEN creates THEN 'thread.created' ELSE 'thread.updated' END AS type,
         workflow_id, participant_id, thread_id, NULL::uuid AS message_id, NULL::int AS workflow_conversation_id,
         jsonb_build_object('status', 'active', 'metadata', thread_metadata) AS data
  FROM placed
  WHERE activates
  UNION ALL
  SELECT tenant_id, 2 * ordinal + 1, 'message.created', workflow_id, participant_id, thread_id, message_id,
         NULL, jsonb_build_object('direction', direction, 'status', 'sent')
  FROM placed
),
${APPEND_EVENTS}
SELECT p.message_id AS "messageId", p.thread_id AS "threadId", p.position, now()::timestamptz(3) AS "createdAt"
${isFollowed ? tellEvents(hasFiles ? 20 : 15) : 'FROM placed p'}`;

const texts = new Map<string, string>();

function textOf(beginning: Beginning, parts: Parts): string {
  const { hasKeys, hasFiles, isFollowed } = parts;
  const name = [beginning === OF_ONE, hasKeys, hasFiles, isFollowed].join();
  const text = texts.get(name) ?? storeMessagesText(beginning, parts);
  texts.set(name, text);
  return text;
}

/**
 * Stores the messages whose idempotency keys are free and answers with those, in no fixed order.
 * All are stored, or the statement fails and none is.
 * @param followed the tenants of which the answers have what their events are made of
 */
export function storeMessages(
  database: Database,
  messages: readonly NewMessage[],
  followed: readonly string[],
): Promise<StoredRow[]> {
  const column = <K extends keyof NewMessage>(name: K) => messages.map((message) => message[name]);
  const files = messages.flatMap(({ messageId, attachments }) =>
    attachments.map((attachment) => ({ messageId, ...attachment })),
  );
  const hasKeys = messages.some(({ idempotencyKey }) => idempotencyKey !== null);
  const fileColumn = <K extends keyof (typeof files)[number]>(name: K) => files.map((file) => file[name]);
  const isFollowed = followed.length > 0;
  return runStatement<StoredRow>(
    database,
    textOf(messages.length === 1 ? OF_ONE : OF_MANY, { hasKeys, hasFiles: files.length > 0, isFollowed }),
    column('tenantId'),
    column('direction'),
    column('workflowId'),
    column('participantId'),
    column('expectedThreadId'),
    column('newThreadId'),
    column('messageId'),
    column('channel'),
    column('channelKey'),
    column('content'),
    column('searchText'),
    column('metadata'),
    column('idempotencyKey'),
    column('inputHash'),
    ...(files.length > 0
      ? [
          fileColumn('messageId'),
          fileColumn('id'),
          fileColumn('filename'),
          fileColumn('contentType'),
          fileColumn('data'),
        ]
      : []),
    ...(isFollowed ? [followed] : []),
  );
}
