-- AlterTable
ALTER TABLE "webhook" ADD COLUMN     "missed" int8multirange NOT NULL DEFAULT '{}'::int8multirange;

-- By hand, because Prisma cannot say it.

-- What a disabled webhook has no deliveries of yet, it is not to get.
UPDATE "webhook" w SET "missed" = int8multirange(int8range(d."sequence", NULL, '()'))
FROM "dispatch_checkpoint" d
WHERE d."tenant_id" = w."tenant_id" AND w."status" = 'disabled';
