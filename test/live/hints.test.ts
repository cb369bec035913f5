import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { type Hints, openHints } from '../../src/events/hints.js';
import { createLog } from '../../src/log.js';
import { createDatabase, type TestDatabase } from '../support/postgres.js';
import { eventually } from '../support/receiver.js';

async function openTestDatabase(): Promise<TestDatabase> {
  const database = await createDatabase({ empty: true });
  onTestFinished(() => database.drop());
  return database;
}

/** What a process has of the hints: it is told of each, and counts them. */
function join({ connectionString }: TestDatabase): Hints & { readonly heard: () => number } {
  const hints = openHints(connectionString, createLog('silent'));
  let heard = 0;
  hints.onHint(() => heard++);
  onTestFinished(() => hints.close());
  return { ...hints, heard: () => heard };
}

/** Hears every notification, and gives none. */
async function listenBeside({ connectionString }: TestDatabase): Promise<() => number> {
  const client = new pg.Client(connectionString);
  await client.connect();
  onTestFinished(() => client.end());
  let notifications = 0;
  client.on('notification', () => notifications++);
  await client.query('LISTEN parley_hint');
  return () => notifications;
}

/** Further apart than notifications are put together. */
async function ring(hints: ReturnType<typeof join>, times: number): Promise<void> {
  for (let rung = 0; rung < times; rung++) {
    const before = hints.heard();
    hints.ring();
    await eventually(() => hints.heard() > before);
  }
}

test('a process that is alone hears its own hints and notifies nobody', async () => {
  const database = await openTestDatabase();
  const notifications = await listenBeside(database);
  const alone = join(database);
  await eventually(() => notifications() === 1, { describe: () => 'it to say that it is here' });
  await ring(alone, 20);
  expect(notifications()).toBeLessThanOrEqual(2); // in case it said again that it is here
});

test('two processes hear of each other from the start of the second on', async () => {
  const database = await openTestDatabase();
  const first = join(database);
  await eventually(() => first.heard() > 0);
  await ring(first, 3); // as one that is alone
  const second = join(database);
  await eventually(() => second.heard() >= 2, { describe: () => 'the second to hear the first' });
  // Before either of them says again that it is here.
  for (const [from, to] of [
    [second, first],
    [first, second],
  ] as const) {
    const before = to.heard();
    await eventually(
      () => {
        from.ring();
        return to.heard() > before;
      },
      { timeoutMs: 2_000, describe: () => 'the hint of the other' },
    );
  }
});
