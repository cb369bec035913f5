import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Arrivals } from './arrivals.js';

/** Where deliveries go: it answers 200 to everything, and counts. */
export interface Receiver {
  readonly url: string;
  /** What came last. */
  readonly lastBody: string;
  readonly arrivals: Arrivals;
  /** Resolves when so many requests have come from now on. */
  expect(count: number): Promise<void>;
  /** How many came, beyond those that were expected. */
  readonly surplus: number;
  close(): Promise<void>;
}

export async function startReceiver(): Promise<Receiver> {
  const arrivals = new Arrivals(1);
  let missing = 0;
  let lastBody = '';
  let done = () => {};
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => {
      arrivals.note(body);
      response.writeHead(200, { 'content-length': 0 }).end();
      lastBody = body;
      missing--;
      if (missing === 0) done();
    });
  });
  // Longer than a pause between two rounds: a connection that is closed while a request comes is a failed delivery.
  server.keepAliveTimeout = 600_000;
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    arrivals,
    get lastBody() {
      return lastBody;
    },
    get surplus() {
      return -missing;
    },
    expect(count) {
      missing = count;
      return new Promise((resolve) => {
        done = resolve;
      });
    },
    async close() {
      server.closeAllConnections();
      await once(server.close(), 'close');
    },
  };
}
