-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "public";

-- CreateEnum
CREATE TYPE "thread_status" AS ENUM ('active', 'archived', 'closed');

-- CreateEnum
CREATE TYPE "message_direction" AS ENUM ('inbound', 'outbound');

-- CreateEnum
CREATE TYPE "message_status" AS ENUM ('sent', 'delivered', 'read', 'failed');

-- CreateEnum
CREATE TYPE "message_log_event" AS ENUM ('created', 'sent', 'delivered', 'read', 'failed');

-- CreateEnum
CREATE TYPE "webhook_status" AS ENUM ('enabled', 'paused', 'disabled');

-- CreateEnum
CREATE TYPE "delivery_kind" AS ENUM ('signal', 'webhook');

-- CreateEnum
CREATE TYPE "delivery_status" AS ENUM ('pending', 'delivered', 'failed', 'cancelled');

-- CreateEnum
CREATE TYPE "workflow_handler_kind" AS ENUM ('http', 'queue');

-- CreateEnum
CREATE TYPE "agent_product_run_status" AS ENUM ('ready', 'running', 'waiting_on_user', 'stopped', 'completed', 'failed', 'cancelled');

-- CreateTable
CREATE TABLE "tenant" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "tenant_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "tenant_counter" (
    "tenant_id" TEXT NOT NULL,
    "last_sequence" BIGINT NOT NULL DEFAULT 0,

    CONSTRAINT "tenant_counter_pkey" PRIMARY KEY ("tenant_id")
);

-- CreateTable
CREATE TABLE "dispatch_checkpoint" (
    "tenant_id" TEXT NOT NULL,
    "sequence" BIGINT NOT NULL DEFAULT 0,

    CONSTRAINT "dispatch_checkpoint_pkey" PRIMARY KEY ("tenant_id")
);

-- CreateTable
CREATE TABLE "api_key" (
    "tenant_id" TEXT NOT NULL,
    "id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "secret_hash" BYTEA NOT NULL,
    "scopes" TEXT[],
    "user_id" INTEGER,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),
    "last_used_at" TIMESTAMPTZ(3),

    CONSTRAINT "api_key_pkey" PRIMARY KEY ("tenant_id","id")
);

-- CreateTable
CREATE TABLE "event" (
    "tenant_id" TEXT NOT NULL,
    "sequence" BIGINT NOT NULL,
    "type" TEXT NOT NULL,
    "occurred_at" TIMESTAMPTZ(3) NOT NULL,
    "workflow_id" TEXT,
    "participant_id" TEXT,
    "thread_id" UUID,
    "message_id" UUID,
    "workflow_conversation_id" INTEGER,
    "data" JSONB,

    CONSTRAINT "event_pkey" PRIMARY KEY ("tenant_id","sequence")
);

-- CreateTable
CREATE TABLE "conversation_thread" (
    "tenant_id" TEXT NOT NULL,
    "id" UUID NOT NULL,
    "workflow_id" TEXT NOT NULL,
    "participant_id" TEXT NOT NULL,
    "status" "thread_status" NOT NULL DEFAULT 'active',
    "metadata" JSONB NOT NULL DEFAULT '{}',
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL,
    "last_position" INTEGER NOT NULL,
    "reply_channel" TEXT,
    "reply_channel_key" TEXT,
    "activated_by" UUID,

    CONSTRAINT "conversation_thread_pkey" PRIMARY KEY ("tenant_id","id")
);

-- CreateTable
CREATE TABLE "conversation_thread_channel" (
    "tenant_id" TEXT NOT NULL,
    "thread_id" UUID NOT NULL,
    "channel" TEXT NOT NULL,

    CONSTRAINT "conversation_thread_channel_pkey" PRIMARY KEY ("tenant_id","thread_id","channel")
);

-- CreateTable
CREATE TABLE "conversation_message" (
    "tenant_id" TEXT NOT NULL,
    "id" UUID NOT NULL,
    "thread_id" UUID NOT NULL,
    "position" INTEGER NOT NULL,
    "direction" "message_direction" NOT NULL,
    "channel" TEXT NOT NULL,
    "channel_key" TEXT NOT NULL,
    "content" JSONB NOT NULL,
    "status" "message_status" NOT NULL DEFAULT 'sent',
    "metadata" JSONB NOT NULL DEFAULT '{}',
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "conversation_message_pkey" PRIMARY KEY ("tenant_id","id")
);

-- CreateTable
CREATE TABLE "conversation_message_log" (
    "tenant_id" TEXT NOT NULL,
    "message_id" UUID NOT NULL,
    "id" BIGSERIAL NOT NULL,
    "timestamp" TIMESTAMPTZ(3) NOT NULL,
    "event" "message_log_event" NOT NULL,
    "details" JSONB,

    CONSTRAINT "conversation_message_log_pkey" PRIMARY KEY ("message_id","id")
);

-- CreateTable
CREATE TABLE "idempotency_key" (
    "tenant_id" TEXT NOT NULL,
    "direction" "message_direction" NOT NULL,
    "key" TEXT NOT NULL,
    "input_hash" BYTEA NOT NULL,
    "message_id" UUID NOT NULL,

    CONSTRAINT "idempotency_key_pkey" PRIMARY KEY ("tenant_id","direction","key")
);

-- CreateTable
CREATE TABLE "workflow_handler" (
    "tenant_id" TEXT NOT NULL,
    "id" UUID NOT NULL,
    "workflow_id" TEXT NOT NULL,
    "kind" "workflow_handler_kind" NOT NULL,
    "url" TEXT,
    "queue" TEXT,
    "sealed_secret" BYTEA,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "workflow_handler_pkey" PRIMARY KEY ("tenant_id","id")
);

-- CreateTable
CREATE TABLE "webhook" (
    "tenant_id" TEXT NOT NULL,
    "id" UUID NOT NULL,
    "url" TEXT NOT NULL,
    "events" TEXT[],
    "description" TEXT,
    "status" "webhook_status" NOT NULL DEFAULT 'enabled',
    "disabled_reason" TEXT,
    "ordered" BOOLEAN NOT NULL DEFAULT false,
    "rate_per_second" INTEGER,
    "headers" JSONB NOT NULL DEFAULT '{}',
    "sealed_secret" BYTEA NOT NULL,
    "after_sequence" BIGINT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "webhook_pkey" PRIMARY KEY ("tenant_id","id")
);

-- CreateTable
CREATE TABLE "delivery" (
    "tenant_id" TEXT NOT NULL,
    "id" UUID NOT NULL,
    "kind" "delivery_kind" NOT NULL,
    "lane_id" UUID NOT NULL,
    "in_order" BOOLEAN NOT NULL,
    "event_sequence" BIGINT,
    "event_type" TEXT NOT NULL,
    "occurred_at" TIMESTAMPTZ(3) NOT NULL,
    "data" JSONB,
    "workflow_id" TEXT,
    "thread_id" UUID,
    "message_id" UUID,
    "webhook_id" UUID,
    "status" "delivery_status" NOT NULL DEFAULT 'pending',
    "attempt_count" INTEGER NOT NULL DEFAULT 0,
    "schedule_start" INTEGER NOT NULL DEFAULT 0,
    "due_at" TIMESTAMPTZ(3),
    "lease_token" UUID,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "delivery_pkey" PRIMARY KEY ("tenant_id","id")
);

-- CreateTable
CREATE TABLE "delivery_attempt" (
    "tenant_id" TEXT NOT NULL,
    "delivery_id" UUID NOT NULL,
    "number" INTEGER NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "status_code" INTEGER,
    "duration_ms" INTEGER NOT NULL,
    "error" TEXT,
    "response_body" TEXT,

    CONSTRAINT "delivery_attempt_pkey" PRIMARY KEY ("tenant_id","delivery_id","number")
);

-- CreateTable
CREATE TABLE "workflow_conversations" (
    "id" SERIAL NOT NULL,
    "tenant_id" TEXT NOT NULL,
    "workflow_id" TEXT NOT NULL,
    "agent_product_id" INTEGER,
    "user_id" INTEGER,
    "configuration" JSONB NOT NULL DEFAULT '{}',
    -- By hand: the boolean true and nothing else counts as running, and the database decides it.
    "running" BOOLEAN NOT NULL GENERATED ALWAYS AS ("configuration" @> '{"running": true}') STORED,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "workflow_conversations_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "agent_products" (
    "id" SERIAL NOT NULL,
    "tenant_id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "description" TEXT,
    "configuration" JSONB NOT NULL DEFAULT '{}',
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "agent_products_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "agent_product_runs" (
    "id" SERIAL NOT NULL,
    "tenant_id" TEXT NOT NULL,
    "workflow_id" INTEGER,
    "agent_product_id" INTEGER,
    "status" "agent_product_run_status" NOT NULL DEFAULT 'ready',
    "input_data" JSONB,
    "output_data" JSONB,
    "start_time" TIMESTAMPTZ(3),
    "end_time" TIMESTAMPTZ(3),
    "duration_ms" BIGINT,
    "error_message" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "agent_product_runs_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "api_key_secret_hash_key" ON "api_key"("secret_hash");

-- CreateIndex
CREATE INDEX "conversation_thread_tenant_id_updated_at_id_idx" ON "conversation_thread"("tenant_id", "updated_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "conversation_thread_tenant_id_created_at_id_idx" ON "conversation_thread"("tenant_id", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "conversation_thread_tenant_id_workflow_id_updated_at_id_idx" ON "conversation_thread"("tenant_id", "workflow_id", "updated_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "conversation_thread_tenant_id_participant_id_updated_at_id_idx" ON "conversation_thread"("tenant_id", "participant_id", "updated_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "conversation_thread_tenant_id_status_updated_at_id_idx" ON "conversation_thread"("tenant_id", "status", "updated_at" DESC, "id" DESC);

-- CreateIndex
CREATE UNIQUE INDEX "conversation_thread_tenant_id_workflow_id_participant_id_key" ON "conversation_thread"("tenant_id", "workflow_id", "participant_id");

-- CreateIndex
CREATE INDEX "conversation_thread_channel_tenant_id_channel_thread_id_idx" ON "conversation_thread_channel"("tenant_id", "channel", "thread_id");

-- CreateIndex
CREATE UNIQUE INDEX "conversation_message_tenant_id_thread_id_position_key" ON "conversation_message"("tenant_id", "thread_id", "position");

-- CreateIndex
CREATE INDEX "idempotency_key_tenant_id_message_id_idx" ON "idempotency_key"("tenant_id", "message_id");

-- CreateIndex
CREATE UNIQUE INDEX "workflow_handler_tenant_id_workflow_id_key" ON "workflow_handler"("tenant_id", "workflow_id");

-- CreateIndex
CREATE INDEX "delivery_tenant_id_kind_id_idx" ON "delivery"("tenant_id", "kind", "id" DESC);

-- CreateIndex
CREATE INDEX "delivery_tenant_id_lane_id_id_idx" ON "delivery"("tenant_id", "lane_id", "id" DESC);

-- CreateIndex
CREATE INDEX "delivery_tenant_id_message_id_idx" ON "delivery"("tenant_id", "message_id");

-- CreateIndex
CREATE UNIQUE INDEX "delivery_tenant_id_lane_id_event_sequence_key" ON "delivery"("tenant_id", "lane_id", "event_sequence");

-- CreateIndex
CREATE INDEX "workflow_conversations_tenant_id_created_at_id_idx" ON "workflow_conversations"("tenant_id", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "workflow_conversations_tenant_id_user_id_created_at_id_idx" ON "workflow_conversations"("tenant_id", "user_id", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "workflow_conversations_tenant_id_user_id_running_created_at_idx" ON "workflow_conversations"("tenant_id", "user_id", "running", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "workflow_conversations_tenant_id_agent_product_id_created_a_idx" ON "workflow_conversations"("tenant_id", "agent_product_id", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE UNIQUE INDEX "workflow_conversations_tenant_id_id_key" ON "workflow_conversations"("tenant_id", "id");

-- CreateIndex
CREATE UNIQUE INDEX "workflow_conversations_tenant_id_workflow_id_key" ON "workflow_conversations"("tenant_id", "workflow_id");

-- CreateIndex
CREATE INDEX "agent_products_tenant_id_created_at_id_idx" ON "agent_products"("tenant_id", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE UNIQUE INDEX "agent_products_tenant_id_id_key" ON "agent_products"("tenant_id", "id");

-- CreateIndex
CREATE INDEX "agent_product_runs_tenant_id_workflow_id_created_at_id_idx" ON "agent_product_runs"("tenant_id", "workflow_id", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "agent_product_runs_tenant_id_agent_product_id_idx" ON "agent_product_runs"("tenant_id", "agent_product_id");

-- CreateIndex
CREATE UNIQUE INDEX "agent_product_runs_tenant_id_id_key" ON "agent_product_runs"("tenant_id", "id");

-- AddForeignKey
ALTER TABLE "tenant_counter" ADD CONSTRAINT "tenant_counter_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "conversation_thread" ADD CONSTRAINT "conversation_thread_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "conversation_thread_channel" ADD CONSTRAINT "conversation_thread_channel_tenant_id_thread_id_fkey" FOREIGN KEY ("tenant_id", "thread_id") REFERENCES "conversation_thread"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "conversation_message" ADD CONSTRAINT "conversation_message_tenant_id_thread_id_fkey" FOREIGN KEY ("tenant_id", "thread_id") REFERENCES "conversation_thread"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "conversation_message_log" ADD CONSTRAINT "conversation_message_log_tenant_id_message_id_fkey" FOREIGN KEY ("tenant_id", "message_id") REFERENCES "conversation_message"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "idempotency_key" ADD CONSTRAINT "idempotency_key_tenant_id_message_id_fkey" FOREIGN KEY ("tenant_id", "message_id") REFERENCES "conversation_message"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "workflow_handler" ADD CONSTRAINT "workflow_handler_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "webhook" ADD CONSTRAINT "webhook_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "delivery" ADD CONSTRAINT "delivery_tenant_id_message_id_fkey" FOREIGN KEY ("tenant_id", "message_id") REFERENCES "conversation_message"("tenant_id", "id") ON DELETE SET NULL ("message_id") ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "delivery" ADD CONSTRAINT "delivery_tenant_id_webhook_id_fkey" FOREIGN KEY ("tenant_id", "webhook_id") REFERENCES "webhook"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "delivery_attempt" ADD CONSTRAINT "delivery_attempt_tenant_id_delivery_id_fkey" FOREIGN KEY ("tenant_id", "delivery_id") REFERENCES "delivery"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "workflow_conversations" ADD CONSTRAINT "workflow_conversations_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "workflow_conversations" ADD CONSTRAINT "workflow_conversations_tenant_id_agent_product_id_fkey" FOREIGN KEY ("tenant_id", "agent_product_id") REFERENCES "agent_products"("tenant_id", "id") ON DELETE SET NULL ("agent_product_id") ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "agent_products" ADD CONSTRAINT "agent_products_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenant"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "agent_product_runs" ADD CONSTRAINT "agent_product_runs_tenant_id_workflow_id_fkey" FOREIGN KEY ("tenant_id", "workflow_id") REFERENCES "workflow_conversations"("tenant_id", "id") ON DELETE SET NULL ("workflow_id") ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "agent_product_runs" ADD CONSTRAINT "agent_product_runs_tenant_id_agent_product_id_fkey" FOREIGN KEY ("tenant_id", "agent_product_id") REFERENCES "agent_products"("tenant_id", "id") ON DELETE SET NULL ("agent_product_id") ON UPDATE CASCADE;

-- By hand, because Prisma cannot say it. (So are the four ON DELETE SET NULL (column) above: without the
-- column list, deleting a row would null the tenant of the rows that point to it.)

-- Postgres has uuidv7() from 18 only; deliveries get their ids inside a statement. RFC 9562, section 5.7:
-- 48 bits of milliseconds laid over a random UUID, then the version.
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
              FROM 1 FOR 6),
      52, 1), 53, 1),
    'hex')::uuid
$$;

-- The hottest rows: room on the page for their next versions, so that updates need no index entry.
ALTER TABLE "tenant_counter" SET (fillfactor = 20);
ALTER TABLE "dispatch_checkpoint" SET (fillfactor = 20);

-- What is due, lane by lane: for the workers that claim and for the sweeper, which skips from lane to lane.
CREATE INDEX "delivery_due_idx" ON "delivery" ("lane_id", "due_at") WHERE "status" = 'pending' AND "due_at" IS NOT NULL;
-- The first of a lane that is sent in order, also while it waits for a handler.
CREATE INDEX "delivery_order_idx" ON "delivery" ("lane_id", "event_sequence") WHERE "status" = 'pending' AND "in_order";
-- Signals that wait for a handler.
CREATE INDEX "delivery_parked_idx" ON "delivery" ("tenant_id", "workflow_id", "created_at")
  WHERE "status" = 'pending' AND "due_at" IS NULL;

ALTER TABLE "tenant" ADD CONSTRAINT "tenant_id_check" CHECK ("id" ~ '^[a-z0-9_-]{1,63}$');
