import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type Dispatcher, Pool } from 'undici';
import { type Figures, Latencies } from './figures.js';

export interface Request {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body?: string;
}

export interface Load {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  /** What to send next. */
  readonly next: () => Request;
}

/**
 * Keeps every connection busy with one request after the other: as many are under way as there are connections.
 * An answer that is no 200, or has GraphQL errors in it, is an error and counts for nothing else.
 */
export async function drive({ url, connections, seconds, next }: Load): Promise<Figures> {
  const latencies = new Latencies();
  let errors = 0;
  const clients = Array.from({ length: connections }, () => new Client(url, { pipelining: 1 }));
  const start = performance.now();
  const end = start + seconds * 1_000;
  await Promise.all(
    clients.map(async (client) => {
      for (let now = performance.now(); now < end; ) {
        const fault = await send(client, next());
        const answered = performance.now();
        if (fault === null) latencies.record(answered - now);
        else if (errors++ === 0) console.error(`Not what was asked for: ${fault}`);
        now = answered;
      }
    }),
  );
  const took = (performance.now() - start) / 1_000;
  await Promise.all(clients.map((client) => client.close()));
  return latencies.figures(took, errors);
}

/** So that a late answer holds up no other request. */
const PACED_CONNECTIONS = 8;

/** Sends so many requests a second, whether the earlier ones have been answered or not. */
export const pacing =
  (
    url: string,
    perSecond: number,
    requestOf: (number: number) => Request,
  ): ((seconds: number) => Promise<Figures>) =>
  async (seconds) => {
    const latencies = new Latencies();
    const client = new Pool(url, { connections: PACED_CONNECTIONS });
    const sent: Promise<string | null>[] = [];
    const start = performance.now();
    for (let number = 0; number < seconds * perSecond; number++) {
      const due = start + (number * 1_000) / perSecond;
      await sleep(due - performance.now());
      const answer = send(client, requestOf(number));
      sent.push(answer);
      void answer.then((fault) => fault ?? latencies.record(performance.now() - due));
    }
    const faults = (await Promise.all(sent)).filter((fault) => fault !== null);
    await client.close();
    return latencies.figures((performance.now() - start) / 1_000, faults.length);
  };

const GRAPHQL_ERRORS = Buffer.from('"errors":[');

/**
 * Sends one request. Answers with what is wrong, null when nothing is. It uses undici's lowest interface: a generator
 * that is slower than what it measures would make both sides look alike.
 */
export function send(client: Dispatcher, request: Request): Promise<string | null> {
  return new Promise((resolve) => {
    let status = 0;
    let fault: string | null = null;
    client.dispatch(request, {
      onRequestStart() {},
      onResponseStart(_controller, statusCode) {
        status = statusCode;
      },
      onResponseData(_controller, chunk) {
        if (status !== 200 || chunk.includes(GRAPHQL_ERRORS)) fault = `${status} ${chunk}`;
      },
      onResponseEnd: () => resolve(fault),
      onResponseError: (_controller, error) => resolve(String(error)),
    });
  });
}
