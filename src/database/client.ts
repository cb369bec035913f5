import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { PrismaClient } from '../generated/prisma/client.js';
import { endAbortedReads, runUntilAborted, withSignal } from './cancellation.js';
import './guarded-connections.js';

/** The typed Prisma client; reads and writes that are not hot go through it directly. */
export type Database = PrismaClient;

export interface DatabaseOptions {
  readonly connectionString: string;
  readonly maxConnections: number;
  /** How long a writer waits for another one's row lock before it fails. */
  readonly lockTimeoutMs: number;
  readonly onError: (error: Error) => void;
}

/** Also of a transaction that does nothing: a host that vanishes in one leaves its locks for others no longer. */
const STATEMENT_TIMEOUT_MS = 60_000;
const MAX_PREPARED_STATEMENTS = 500;

/** Opens a pool. It connects when something is asked; `$disconnect()` closes it. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const pool = new pg.Pool({
    connectionString: options.connectionString,
    max: options.maxConnections,
    lock_timeout: options.lockTimeoutMs,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    keepAlive: true,
  });
  endAbortedReads(pool);
  const nameOf = nameStatements();
  const adapter = new PrismaPg(pool, {
    disposeExternalPool: true,
    onPoolError: options.onError,
    onConnectionError: options.onError,
    statementNameGenerator: ({ sql }) => nameOf(sql) as string,
  });
  const database = new PrismaClient({ adapter, transactionOptions: { timeout: 2 * STATEMENT_TIMEOUT_MS } });
  // Only a connected client answers for the pool: for its errors, and for its end.
  await database.$connect();
  runners.set(database, async (text, values, signal) => {
    const config = { name: nameOf(text), text, values: [...values], types: ROW_TYPES };
    const { rows } = await (signal ? runUntilAborted(pool, config, signal) : pool.query(config));
    return rows;
  });
  return database;
}

type Runner = (text: string, values: readonly unknown[], signal?: AbortSignal) => Promise<unknown[]>;

const runners = new WeakMap<object, Runner>();

/**
 * The same database for work that ends when the signal aborts: statements that run are cancelled in Postgres, further
 * ones are not begun, and all fail with the signal's reason. For reads: a write would be left in doubt. Transactions
 * of several statements are left alone.
 */
export function untilAborted(database: Database, signal: AbortSignal): Database {
  const bound = withSignal(database, signal);
  const run = runners.get(database);
  if (run) runners.set(bound, (text, values) => run(text, values, signal));
  return bound;
}

const { INT8, TIMESTAMPTZ } = pg.types.builtins;
const UTC_TIME = /^[12]\d{3}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,3})?\+00$/;
const parseAnyTime = pg.types.getTypeParser(TIMESTAMPTZ);
/** What a time usually looks like is read by the engine itself, twice as fast. */
const parseTime = (text: string) => (UTC_TIME.test(text) ? new Date(text) : parseAnyTime(text));

/** Rows have the values that Prisma gives them. */
const ROW_TYPES: pg.CustomTypesConfig = {
  getTypeParser(type, format) {
    if (type === INT8) return BigInt;
    return type === TIMESTAMPTZ && format !== 'binary' ? parseTime : pg.types.getTypeParser(type, format);
  },
};

/**
 * Runs one of the hand-written statements. The text is always a constant of this program and every value a
 * parameter; a constant text is also what lets Postgres keep it prepared. Outside a transaction it goes past Prisma,
 * which copies all values several times over and keeps those of its last hundred statements.
 */
export function runStatement<Row>(
  database: Pick<Database, '$queryRawUnsafe'>,
  text: string,
  ...values: readonly unknown[]
): Promise<Row[]> {
  const run = runners.get(database);
  return run ? (run(text, values) as Promise<Row[]>) : database.$queryRawUnsafe<Row[]>(text, ...values);
}

/**
 * A named statement is planned once per connection. Only the first few hundred different texts get a name:
 * Prisma writes one text per length of an `IN` list, and a connection must not collect them without end.
 */
function nameStatements(): (text: string) => string | undefined {
  const names = new Map<string, string>();
  return (text) => {
    const known = names.get(text);
    if (known !== undefined || names.size >= MAX_PREPARED_STATEMENTS) return known;
    const name = `parley_${names.size + 1}`;
    names.set(text, name);
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
