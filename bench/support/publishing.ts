import { Pool } from 'undici';
import type { Arrivals } from './arrivals.js';
import { Latencies } from './figures.js';
import { pace, type Request, send } from './load.js';
import type { Run } from './rounds.js';
import type { Stage } from './stage.js';

/** Sends the message with this number. Answers with what is wrong, null when it was acknowledged. */
export type Publish = (number: number) => Promise<string | null>;

/** Counts all messages of the run, so that no two have the same number. */
let published = 0;

/**
 * Publishes the next message, and records how long after its acknowledgement it came to each of its places.
 * Resolves when it has come to all of them; with false when it was refused, or has not come everywhere.
 */
export async function publishOne(
  publish: Publish,
  arrivals: Arrivals,
  latencies: Latencies,
): Promise<boolean> {
  const number = ++published;
  const arrived = arrivals.expect(number);
  if ((await publish(number)) !== null) return false;
  const acknowledged = performance.now();
  const times = await arrived;
  for (const time of times) latencies.record(Math.max(0, time - acknowledged));
  return times.length === arrivals.ofEach;
}

/** Of the cases that measure how late things are when there is room. */
export const QUIET_MESSAGES_A_SECOND = 50;
const QUIET_CONNECTIONS = 8;

/** What arrives per second of a few messages, and how long after their acknowledgement. */
export const publishingQuietly =
  (publish: Publish, arrivals: Arrivals): Run =>
  async (seconds) => {
    const latencies = new Latencies();
    const start = performance.now();
    const isGood = await pace(QUIET_MESSAGES_A_SECOND, seconds, () =>
      publishOne(publish, arrivals, latencies),
    );
    return latencies.figures((performance.now() - start) / 1_000, isGood.filter((good) => !good).length);
  };

/** Publishes by requests. */
export function posting(stage: Stage, url: string, requestOf: (number: number) => Request): Publish {
  const client = new Pool(url, { connections: QUIET_CONNECTIONS });
  stage.onEnd(() => client.close());
  return (number) => send(client, requestOf(number));
}
