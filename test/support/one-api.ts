import { randomBytes } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { type Client, createClient } from './app.js';
import { inspectable } from './memory.js';
import { createDatabase } from './postgres.js';
import { install, type Parley } from './process.js';

/** A process that only answers requests, whose memory can be looked at, on a database that nobody else uses. */
export async function startOneApi(): Promise<{ api: Parley; client: Client; databaseUrl: string }> {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const apiKey = `parley_${randomBytes(24).toString('hex')}`;
  const installation = await install({
    DATABASE_URL: database.connectionString,
    SECRETS_KEY: randomBytes(32).toString('base64'),
    BOOTSTRAP_API_KEY: apiKey,
    LOG_LEVEL: 'warn',
    ...inspectable,
  });
  const api = await installation.start({ ROLE: 'api' });
  return { api, client: createClient(api.url, apiKey), databaseUrl: database.connectionString };
}
