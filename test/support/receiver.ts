import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/** A POST that a receiver got, with its exact bytes. */
export interface Received {
  readonly at: number;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  // biome-ignore lint/suspicious/noExplicitAny: tests look at bodies freely
  readonly body: any;
}

export interface Receiver {
  readonly url: string;
  readonly received: Received[];
  /** Resolves when at least `count` POSTs (that match) have come; fails with what came instead. */
  waitFor(count: number, matches?: (received: Received) => boolean): Promise<Received[]>;
}

/** A real HTTP server on loopback that keeps what it gets. `answer` decides how it answers; 200 by default. */
export async function startReceiver(
  answer: (received: Received, response: ServerResponse) => void | Promise<void> = (_, response) =>
    void response.end(),
): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const bytes = Buffer.concat(chunks);
      const entry = {
        at: Date.now(),
        path: request.url ?? '',
        headers: request.headers,
        bytes,
        body: JSON.parse(bytes.toString() || 'null'),
      };
      received.push(entry);
      void answer(entry, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    async waitFor(count, matches = () => true) {
      await eventually(() => received.filter(matches).length >= count, {
        timeoutMs: 20_000,
        describe: () => `${count} requests, got ${received.filter(matches).length} of ${received.length}`,
      });
      return received.filter(matches);
    },
  };
}

/** Waits until a condition holds; fails with a description when it does not in time. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  {
    timeoutMs = 15_000,
    describe = () => 'the condition',
  }: { timeoutMs?: number; describe?: () => string } = {},
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Waited ${timeoutMs} ms for ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
