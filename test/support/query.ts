import pg from 'pg';

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
