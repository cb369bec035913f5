import { setTimeout as sleep } from 'node:timers/promises';
import { type Dispatcher, Pool } from 'undici';
import { type Answer, HttpConnection } from './connection.js';
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
  const opened = await Promise.all(Array.from({ length: connections }, () => HttpConnection.open(url)));
  const start = performance.now();
  const end = start + seconds * 1_000;
  await Promise.all(
    opened.map(async (connection) => {
      for (let now = performance.now(); now < end; ) {
        const fault = faultOf(await connection.send(next()));
        const answered = performance.now();
        if (fault === null) latencies.record(answered - now);
        else if (errors++ === 0) console.error(`Not what was asked for: ${fault}`);
        now = answered;
      }
    }),
  );
  const took = (performance.now() - start) / 1_000;
  for (const connection of opened) connection.close();
  return latencies.figures(took, errors);
}

/** Begins so many pieces of work a second, whether the earlier ones are done or not. Resolves with what came of all. */
export async function pace<T>(
  perSecond: number,
  seconds: number,
  work: (number: number, due: number) => Promise<T>,
): Promise<T[]> {
  const begun: Promise<T>[] = [];
  const start = performance.now();
  for (let number = 0; number < seconds * perSecond; number++) {
    const due = start + (number * 1_000) / perSecond;
    await sleep(due - performance.now());
    begun.push(work(number, due));
  }
  return Promise.all(begun);
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
    const start = performance.now();
    const faults = await pace(perSecond, seconds, async (number, due) => {
      const fault = await send(client, requestOf(number));
      if (fault === null) latencies.record(performance.now() - due);
      return fault;
    });
    await client.close();
    const errors = faults.filter((fault) => fault !== null).length;
    return latencies.figures((performance.now() - start) / 1_000, errors);
  };

const GRAPHQL_ERRORS = Buffer.from('"errors":[');

const faultOf = ({ status, body }: Answer): string | null =>
  status === 200 && !body.includes(GRAPHQL_ERRORS) ? null : `${status} ${body}`;

/** Sends one request among others that may be under way. Answers with what is wrong, null when nothing is. */
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
        fault ??= faultOf({ status, body: chunk });
      },
      onResponseEnd: () => resolve(fault),
      onResponseError: (_controller, error) => resolve(String(error)),
    });
  });
}
