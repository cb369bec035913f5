-- CreateTable
CREATE TABLE "event_log_start" (
    "tenant_id" TEXT NOT NULL,
    "sequence" BIGINT NOT NULL,

    CONSTRAINT "event_log_start_pkey" PRIMARY KEY ("tenant_id")
);
