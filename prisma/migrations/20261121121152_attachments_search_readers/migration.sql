-- AlterTable
ALTER TABLE "conversation_message" ADD COLUMN     "content_bytes" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "search" tsvector;

-- CreateTable
CREATE TABLE "conversation_thread_reader" (
    "tenant_id" TEXT NOT NULL,
    "thread_id" UUID NOT NULL,
    "reader" TEXT NOT NULL,
    "position" INTEGER NOT NULL,

    CONSTRAINT "conversation_thread_reader_pkey" PRIMARY KEY ("tenant_id","thread_id","reader")
);

-- CreateTable
CREATE TABLE "conversation_attachment" (
    "tenant_id" TEXT NOT NULL,
    "id" UUID NOT NULL,
    "message_id" UUID NOT NULL,
    "filename" TEXT NOT NULL,
    "content_type" TEXT NOT NULL,
    "size" INTEGER NOT NULL,
    "sha256" BYTEA NOT NULL,
    "data" BYTEA NOT NULL,

    CONSTRAINT "conversation_attachment_pkey" PRIMARY KEY ("tenant_id","id")
);

-- CreateIndex
CREATE INDEX "conversation_attachment_tenant_id_message_id_idx" ON "conversation_attachment"("tenant_id", "message_id");

-- AddForeignKey
ALTER TABLE "conversation_thread_reader" ADD CONSTRAINT "conversation_thread_reader_tenant_id_thread_id_fkey" FOREIGN KEY ("tenant_id", "thread_id") REFERENCES "conversation_thread"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "conversation_attachment" ADD CONSTRAINT "conversation_attachment_tenant_id_message_id_fkey" FOREIGN KEY ("tenant_id", "message_id") REFERENCES "conversation_message"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;


-- By hand, because Prisma cannot say it.

-- Stored as it is, so that a part of a file can be read without the rest.
ALTER TABLE "conversation_attachment" ALTER COLUMN "data" SET STORAGE EXTERNAL;

-- An index over words that begins with the tenant: a word that everybody uses is looked up among one tenant's
-- messages only.
CREATE EXTENSION IF NOT EXISTS btree_gin;
CREATE INDEX "conversation_message_tenant_id_search_idx" ON "conversation_message" USING GIN ("tenant_id", "search");

UPDATE "conversation_message"
SET "content_bytes" = octet_length("content"::text),
    "search" = to_tsvector('simple', left(
      (SELECT string_agg(value #>> '{}', E'\n') FROM jsonb_path_query("content", 'strict $.** ? (@.type() == "string")') AS value),
      50000));
