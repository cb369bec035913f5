import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import type { Client } from './app.js';
import { overEventStream, overWebSocket, startChurnSubscriber } from './churn-subscriber.js';
import { memoryOf } from './memory.js';
import { startOneApi } from './one-api.js';
import { openRawSocket } from './raw-socket.js';
import { eventually } from './receiver.js';

export interface SlowSubscriber {
  readonly perSecond: number;
  /** How long one subscriber reads nothing; so long the others are measured before, too. */
  readonly seconds: number;
  /** Of each message. All together are more than sockets hold. */
  readonly bodyBytes: number;
}

const MB = 1024 * 1024;
const MOST_KEPT_BYTES = 50 * MB;
const OTHERS = 4;
const WRITERS = 16;
/** Below that, what is measured is the machine. */
const NOISE_MS = 100;

/**
 * One subscriber stops reading under load: the process keeps little for it, the others' latency stays within twice its
 * figure, and when it reads again it gets everything, in order.
 */
export async function slowSubscriber({ perSecond, seconds, bodyBytes }: SlowSubscriber) {
  const { api, client } = await startOneApi();
  const latencies: number[] = [];
  const { eventCursor } = await client.data('{ eventCursor }');
  const subscription = `subscription ($after: String) {
    messageAdded(after: $after) { sequence cursor message { content } }
  }`;
  const ways = [
    overWebSocket(client.apiKey, subscription, {}),
    overEventStream(client.apiKey, '?types=message.created'),
  ];
  const others = Array.from({ length: OTHERS }, (_, index) => {
    const other = startChurnSubscriber(
      ways[index % 2]!,
      () => api.url,
      eventCursor,
      ({ body }) => latencies.push(Date.now() - Number(body!.split(' ', 1)[0])),
    );
    onTestFinished(() => other.stop());
    return other;
  });
  const messages = perSecond * seconds;
  const padding = 'x'.repeat(bodyBytes);
  const arrived = (count: number) =>
    eventually(() => others.every(({ sequences }) => sequences.length === count), {
      timeoutMs: 120_000,
      describe: () => `${count} messages to reach the others`,
    });

  // The first ones find a cold process.
  await write(client, perSecond, perSecond, padding);
  await arrived(perSecond);
  latencies.length = 0;
  await write(client, messages, perSecond, padding);
  await arrived(perSecond + messages);
  const usual = percentiles(latencies.splice(0));

  const slow = await openRawSocket(api.url);
  await slow.init(client.apiKey);
  slow.run('1', subscription, { after: (await client.data('{ eventCursor }')).eventCursor });
  await write(client, 1, 1, padding);
  await eventually(() => slow.messages.length === 2);
  const before = await memoryOf(api);
  slow.socket.pause();
  const pausedAt = performance.now();
  await write(client, messages, perSecond, padding);
  const writtenPerSecond = Math.round((messages * 1_000) / (performance.now() - pausedAt));
  await arrived(perSecond + 2 * messages + 1);
  const beside = percentiles(latencies.splice(0));
  const after = await memoryOf(api);
  const keptBytes = after.heapUsed + after.external - before.heapUsed - before.external;

  const figures = {
    messages,
    writtenPerSecond,
    keptMegabytes: Math.round((keptBytes / MB) * 10) / 10,
    usual,
    beside,
  };
  slow.socket.resume();
  await eventually(() => slow.messages.length === messages + 2, {
    timeoutMs: 120_000,
    describe: () => `all ${messages} messages, not ${slow.messages.length - 2} (${JSON.stringify(figures)})`,
  });
  const [, first, ...rest] = slow.messages.map(({ payload }) => payload?.data.messageAdded.sequence);
  expect(rest).toEqual(rest.map((_, index) => first + 1 + index));
  expect(keptBytes).toBeLessThan(MOST_KEPT_BYTES);
  expect(beside.p99).toBeLessThan(Math.max(2 * usual.p99, NOISE_MS));
  return figures;
}

/** Writes messages that say when they were sent, so many a second. */
async function write(client: Client, messages: number, perSecond: number, padding: string): Promise<void> {
  const startedAt = performance.now();
  let next = 0;
  const writer = async () => {
    while (next < messages) {
      const aheadMs = startedAt + (next++ / perSecond) * 1_000 - performance.now();
      if (aheadMs > 1) await sleep(aheadMs);
      const { status } = await client.rest('POST', '/inbound', {
        workflowId: 'w',
        participantId: 'p',
        channel: 'chat',
        channelKey: 'k',
        content: { body: `${Date.now()} ${padding}` },
      });
      expect(status).toBe(200);
    }
  };
  await Promise.all(Array.from({ length: Math.min(WRITERS, messages) }, writer));
}

function percentiles(milliseconds: number[]) {
  const sorted = milliseconds.sort((a, b) => a - b);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
