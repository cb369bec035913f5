import { startEmbeddedPostgres } from '../../src/database/embedded-postgres.js';
import { createLog } from '../../src/log.js';

// A process that owns an embedded Postgres until it is killed; it prints the connection string.
const [dataDir] = process.argv.slice(2);
const server = await startEmbeddedPostgres({ dataDir: dataDir!, log: createLog('warn') });
process.stdout.write(`${server.connectionString}\n`);
