import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { type Database, openDatabase, runStatement, untilAborted } from '../../src/database/client.js';
import { createDatabase } from '../support/postgres.js';

/** A pool of one connection, and a connection beside it. */
async function openBoth({ empty = true } = {}) {
  const { connectionString, drop } = await createDatabase({ empty });
  const beside = new pg.Client(connectionString);
  await beside.connect();
  const errors: Error[] = [];
  const database = await openDatabase({
    connectionString,
    maxConnections: 1,
    lockTimeoutMs: 1_000,
    onError: (error) => errors.push(error),
  });
  onTestFinished(async () => {
    await database.$disconnect();
    await beside.end();
    await drop();
  });
  return { database, beside, errors };
}

/** Holds up this process, so that what the server says meanwhile is read together afterwards. */
const holdUp = (milliseconds: number) =>
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

// An error that nobody listens to ends the process; vitest reports it as unhandled and fails the run.
test('a connection that the server ends while it is handed from a statement to a transaction ends no process', async () => {
  const { database, beside } = await openBoth();
  const [{ pid } = { pid: 0 }] = await runStatement<{ pid: number }>(
    database,
    'SELECT pg_backend_pid() AS pid',
  );
  const statement = runStatement(database, 'SELECT pg_sleep(0.2)');
  const one = () => database.$queryRawUnsafe('SELECT 1');
  const transaction = database.$transaction([one(), one()]);
  const ended = beside.query('SELECT pg_sleep(0.4), pg_terminate_backend($1)', [pid]);
  setTimeout(() => holdUp(1_000), 50); // when both wait for the one connection
  await statement;
  await expect(transaction).rejects.toThrow();
  await ended;
  expect(await runStatement(database, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('a connection that ends while it is idle is reported, and replaced', async () => {
  const { database, beside, errors } = await openBoth();
  const [{ pid } = { pid: 0 }] = await runStatement<{ pid: number }>(
    database,
    'SELECT pg_backend_pid() AS pid',
  );
  await beside.query('SELECT pg_terminate_backend($1)', [pid]);
  await expect.poll(() => errors.length).toBe(1);
  expect(await runStatement(database, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('a statement has the same rows inside a transaction and outside', async () => {
  const { database } = await openBoth();
  const text = `
    SELECT $1::bigint AS int8, $2::int AS int4, $3::text AS text, $4::timestamptz(3) AS timestamptz, $5::jsonb AS jsonb,
           $6::bytea AS bytea, $7::uuid AS uuid, $8::text[] AS texts, $9::boolean AS boolean, $10::float8 AS float8,
           NULL AS nothing`;
  const values = [
    9_007_199_254_740_993n,
    7,
    'ümlaut \\ " \'',
    new Date('2026-02-03T04:05:06.007Z'),
    JSON.stringify({ a: [1, null, 'b'] }),
    Uint8Array.of(0, 255),
    '018f0000-0000-7000-8000-000000000001',
    ['a', null, '{"b",c}'],
    true,
    1.5,
  ];
  const plain = ([row]: Record<string, unknown>[]) => ({
    ...row,
    bytea: Buffer.from((row?.bytea ?? []) as Uint8Array).toString('hex'),
  });
  const outside = plain(await runStatement(database, text, ...values));
  const inside = await database.$transaction(async (transaction) =>
    plain(await runStatement(transaction, text, ...values)),
  );
  expect(outside).toEqual(inside);
  expect(outside).toMatchObject({ int8: values[0], timestamptz: values[3], texts: values[7] });
});

const reads: Record<string, (database: Database) => Promise<unknown>> = {
  'by a statement of ours': (database) => runStatement(database, 'SELECT * FROM tenant'),
  'by Prisma': (database) => database.tenant.findMany(),
};
for (const [way, read] of Object.entries(reads)) {
  test(`a read ${way} ends with its signal, in Postgres too, and others go on`, async () => {
    const { database, beside } = await openBoth({ empty: false });
    const waiting = async () => {
      await beside.query('SELECT pg_stat_clear_snapshot()'); // a transaction goes on seeing what it saw first
      const { rows } = await beside.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
      );
      return rows.length;
    };
    await beside.query('BEGIN');
    await beside.query('LOCK TABLE tenant');
    const stop = new AbortController();
    const reason = new Error('out of time');
    const outcome = read(untilAborted(database, stop.signal)).catch((error: unknown) => error);
    await expect.poll(waiting).toBe(1);
    stop.abort(reason);
    expect(await outcome).toBe(reason);
    expect(await waiting()).toBe(0);
    await expect(read(untilAborted(database, stop.signal))).rejects.toBe(reason);
    await beside.query('COMMIT');
    expect(await read(database)).toEqual([]);
    expect(await read(untilAborted(database, new AbortController().signal))).toEqual([]);
  });
}
