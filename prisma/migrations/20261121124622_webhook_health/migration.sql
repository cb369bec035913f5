-- AlterTable
ALTER TABLE "webhook" ADD COLUMN     "previous_secrets" JSONB NOT NULL DEFAULT '[]';

-- CreateTable
CREATE TABLE "webhook_health" (
    "tenant_id" TEXT NOT NULL,
    "webhook_id" UUID NOT NULL,
    "failures" INTEGER NOT NULL DEFAULT 0,
    "failing_since" TIMESTAMPTZ(3),
    "resting_until" TIMESTAMPTZ(3),
    "rated_until" TIMESTAMPTZ(6),

    CONSTRAINT "webhook_health_pkey" PRIMARY KEY ("tenant_id","webhook_id")
);

-- AddForeignKey
ALTER TABLE "webhook_health" ADD CONSTRAINT "webhook_health_tenant_id_webhook_id_fkey" FOREIGN KEY ("tenant_id", "webhook_id") REFERENCES "webhook"("tenant_id", "id") ON DELETE CASCADE ON UPDATE CASCADE;


-- By hand, because Prisma cannot say it.

INSERT INTO "webhook_health" ("tenant_id", "webhook_id") SELECT "tenant_id", "id" FROM "webhook";

-- Room on the page for the next version of a row, so that an update needs no index entry.
ALTER TABLE "webhook_health" SET (fillfactor = 50);

-- What is under way to one webhook: its number is limited.
CREATE INDEX "delivery_leased_idx" ON "delivery" ("lane_id")
  WHERE "status" = 'pending' AND "kind" = 'webhook' AND "lease_token" IS NOT NULL;
-- What has finally failed, to be recovered.
CREATE INDEX "delivery_failed_idx" ON "delivery" ("tenant_id", "lane_id", "id") WHERE "status" = 'failed';
-- The webhooks whose pending deliveries are to be given up; few, and asked for every second.
CREATE INDEX "webhook_disabled_idx" ON "webhook" ("tenant_id", "id") WHERE "status" = 'disabled';
