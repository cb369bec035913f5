import { defineConfig } from 'prisma/config';

/** For the Prisma CLI only; `generate` needs no database, so the URL may be missing. */
export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: process.env.DATABASE_URL ? { url: process.env.DATABASE_URL } : undefined,
});
