-- AlterTable
ALTER TABLE "workflow_handler" ADD COLUMN     "after_sequence" BIGINT NOT NULL DEFAULT 0;
