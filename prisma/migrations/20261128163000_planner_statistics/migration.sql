-- No plan depends on what is in these, and looking through them is half of what ANALYZE takes for a message.
ALTER TABLE "conversation_message" ALTER COLUMN "content" SET STATISTICS 0, ALTER COLUMN "metadata" SET STATISTICS 0;
ALTER TABLE "conversation_thread" ALTER COLUMN "metadata" SET STATISTICS 0;
ALTER TABLE "event" ALTER COLUMN "data" SET STATISTICS 0;
ALTER TABLE "delivery" ALTER COLUMN "data" SET STATISTICS 0;

-- A new database has no statistics, and Postgres plans its first statements, foreign-key checks among them, for tables
-- of a few rows: there a look-up by tenant and id may as well walk the index of any other column of the tenant. Such a
-- plan is kept until the table is analysed, while the table grows to thousands of rows. So a database in which nothing
-- is yet learns here what its tables will look like: TRUNCATE takes the rows and leaves what ANALYZE saw in them.
DO $$
DECLARE
  seed CONSTANT int := 2000;
BEGIN
  IF EXISTS (SELECT 1 FROM tenant) THEN
    RETURN;
  END IF;
  INSERT INTO tenant (id, name) VALUES ('seed', 'seed');
  INSERT INTO conversation_thread (tenant_id, id, workflow_id, participant_id, created_at, updated_at, last_position)
  SELECT 'seed', uuid_v7(), 'workflow_' || n % 10, 'participant_' || n, now() + n * interval '1 second',
         now() + n * interval '1 second', 1
  FROM generate_series(1, seed) AS n;
  INSERT INTO conversation_thread_channel (tenant_id, thread_id, channel)
  SELECT tenant_id, id, 'chat' FROM conversation_thread;
  INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content,
                                    created_at)
  SELECT tenant_id, uuid_v7(), id, 1, 'outbound', 'chat', participant_id, '{"body": "seed"}', updated_at
  FROM conversation_thread;
  INSERT INTO conversation_message_log (tenant_id, message_id, timestamp, event)
  SELECT tenant_id, id, created_at, 'created' FROM conversation_message;
  INSERT INTO idempotency_key (tenant_id, direction, key, input_hash, message_id)
  SELECT tenant_id, direction, id::text, uuid_send(id), id FROM conversation_message;
  INSERT INTO event (tenant_id, sequence, type, occurred_at, thread_id, message_id)
  SELECT tenant_id, row_number() OVER (), 'message.created', created_at, thread_id, id FROM conversation_message;
  INSERT INTO delivery (tenant_id, id, kind, lane_id, in_order, event_sequence, event_type, occurred_at, workflow_id,
                        thread_id, message_id, status, attempt_count)
  SELECT m.tenant_id, uuid_v7(), 'signal', m.thread_id, true, e.sequence, 'message.created', m.created_at,
         t.workflow_id, m.thread_id, m.id, 'delivered', 1
  FROM conversation_message m
  JOIN conversation_thread t ON t.id = m.thread_id
  JOIN event e ON e.message_id = m.id;
  INSERT INTO delivery_attempt (tenant_id, delivery_id, number, at, duration_ms)
  SELECT tenant_id, id, 1, occurred_at, 10 FROM delivery;
  ANALYZE conversation_thread, conversation_thread_channel, conversation_message, conversation_message_log,
          idempotency_key, event, delivery, delivery_attempt;
  TRUNCATE tenant, event RESTART IDENTITY CASCADE;
END
$$;
