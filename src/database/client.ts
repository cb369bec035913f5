import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { PrismaClient } from '../generated/prisma/client.js';
import { endAborted } from './cancellation.js';

/** The typed Prisma client; reads and writes that are not hot go through it directly. */
export type Database = PrismaClient;

export interface DatabaseOptions {
  readonly connectionString: string;
  readonly maxConnections: number;
  /** How long a writer waits for another one's row lock before it fails. */
  readonly lockTimeoutMs: number;
  readonly onError: (error: Error) => void;
}

const STATEMENT_TIMEOUT_MS = 60_000;
const MAX_PREPARED_STATEMENTS = 500;

/** Opens a pool. It connects on first use; `$disconnect()` closes it. */
export function openDatabase(options: DatabaseOptions): Database {
  const pool = new pg.Pool({
    connectionString: options.connectionString,
    max: options.maxConnections,
    lock_timeout: options.lockTimeoutMs,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    keepAlive: true,
  });
  endAborted(pool);
  const adapter = new PrismaPg(pool, {
    disposeExternalPool: true,
    onPoolError: options.onError,
    onConnectionError: options.onError,
    statementNameGenerator: nameStatements(),
  });
  return new PrismaClient({ adapter, transactionOptions: { timeout: 2 * STATEMENT_TIMEOUT_MS } });
}

/**
 * Runs one of the hand-written statements. The text is always a constant of this program and every value a
 * parameter; a constant text is also what lets Postgres keep it prepared.
 */
export function runStatement<Row>(
  database: Pick<Database, '$queryRawUnsafe'>,
  text: string,
  ...values: readonly unknown[]
): Promise<Row[]> {
  return database.$queryRawUnsafe<Row[]>(text, ...values);
}

/**
 * A named statement is planned once per connection. Only the first few hundred different texts get a name:
 * Prisma writes one text per length of an `IN` list, and a connection must not collect them without end.
 */
function nameStatements(): (query: { sql: string }) => string {
  const names = new Map<string, string>();
  return ({ sql }) => {
    const known = names.get(sql);
    if (known !== undefined || names.size >= MAX_PREPARED_STATEMENTS) return known as string;
    const name = `parley_${names.size + 1}`;
    names.set(sql, name);
    return name;
  };
}

/** The SQLSTATE behind an error of Prisma or pg, or null when it has none. */
export function sqlState(error: unknown): string | null {
  for (let cause = error, hops = 0; cause instanceof Error && hops < 5; cause = cause.cause, hops++) {
    const { code, meta, originalCode } = cause as {
      code?: unknown;
      originalCode?: unknown;
      meta?: { driverAdapterError?: { cause?: { originalCode?: unknown; code?: unknown } }; code?: unknown };
    };
    const driver = meta?.driverAdapterError?.cause;
    for (const candidate of [driver?.originalCode, driver?.code, meta?.code, originalCode, code]) {
      if (typeof candidate === 'string' && /^[0-9A-Z]{5}$/.test(candidate) && !candidate.startsWith('P2')) {
        return candidate;
      }
    }
  }
  return null;
}

const LOCK_TIMEOUTS: ReadonlySet<string | null> = new Set(['55P03', '40P01']);

/** True when a statement gave up because somebody else held a lock (lock timeout, deadlock). */
export const isLockTimeout = (error: unknown): boolean => LOCK_TIMEOUTS.has(sqlState(error));
