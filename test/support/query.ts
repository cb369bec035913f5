import pg from 'pg';
import { eventually } from './receiver.js';

/** Runs one statement on a connection of its own: for what no interface of Parley shows, and for interfering. */
export async function query<Row = Record<string, unknown>>(
  connectionString: string,
  sql: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client(connectionString);
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query(sql, values)).rows;
  } finally {
    await client.end();
  }
}

/** Runs a statement, and commits it only when what is begun then waits for it. Answers with what came of that. */
export async function commitWhenAwaited<T>(
  connectionString: string,
  sql: string,
  values: unknown[],
  begin: () => Promise<T>,
): Promise<T> {
  const other = new pg.Client(connectionString);
  await other.connect();
  try {
    await other.query('BEGIN');
    const { rows } = await other.query(`${sql} RETURNING pg_backend_pid() AS pid`, values);
    const begun = begin();
    await eventually(async () => {
      const blocked = 'SELECT 1 FROM pg_stat_activity WHERE $1::int = ANY (pg_blocking_pids(pid))';
      return (await query(connectionString, blocked, [rows[0].pid])).length > 0;
    });
    await other.query('COMMIT');
    return await begun;
  } finally {
    await other.end();
  }
}
