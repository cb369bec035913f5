import { cpus, totalmem } from 'node:os';
import { type Stage, withClient } from './stage.js';

const COMMITS = 500;

/** What the figures depend on: the processor, the versions, and how long a commit takes. */
export async function describeMachine(stage: Stage): Promise<string> {
  const database = await stage.database('machine');
  const { version, commitMs } = await withClient(database, async (client) => {
    const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
    await client.query('CREATE TABLE number (value int)');
    await client.query('INSERT INTO number VALUES (0)');
    const start = performance.now();
    for (let commit = 0; commit < COMMITS; commit++)
      await client.query('UPDATE number SET value = value + 1');
    return { version: rows[0]?.server_version, commitMs: (performance.now() - start) / COMMITS };
  });
  const [processor] = cpus();
  return [
    `${cpus().length} × ${processor?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GB`,
    `Node ${process.versions.node}, Postgres ${version}, one commit ${commitMs.toFixed(2)} ms`,
  ].join('\n');
}
