import { CloseCode, createClient } from 'graphql-ws';
import { endpointOf, type Parley } from './client.js';
import { type GraphQLFault, hasCode, ParleyError, sleep, unreachable } from './errors.js';
import type { TypedDocumentString } from './generated/documents.js';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const PING_EVERY_MS = 10_000;
const PONG_WITHIN_MS = 5_000;

/** What a subscription must give that can be gone on with: an event that says where in the log it stands. */
type Followed = Readonly<Record<string, { readonly cursor: string }>>;

export interface FollowOptions {
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Told when the connection stands, and when it is lost. */
  readonly onConnection?: ((isLive: boolean) => void) | undefined;
}

/**
 * Gives every event behind `after` to `onEvent`: in order, each once, the next when it is done with the one before.
 * A lost connection is made again, and goes on behind the last event; an event that `onEvent` failed at with
 * `UNREACHABLE` comes again. Resolves when `signal` aborts.
 * @throws ParleyError when trying again would not help: a refused key, an expired cursor, a faulty document
 */
export async function follow<Data extends Followed, Variables>(
  parley: Parley,
  document: TypedDocumentString<Data, Variables>,
  variables: Variables & { readonly after: string },
  onEvent: (event: Data[keyof Data]) => void | Promise<void>,
  { signal, onConnection = () => {} }: FollowOptions,
): Promise<void> {
  let { after } = variables;
  let failures = 0;

  async function followConnection() {
    const socket = openSocket(parley, onConnection);
    const results = socket.iterate<Data>({ query: String(document), variables: { ...variables, after } });
    const stop = () => void results.return?.();
    signal.addEventListener('abort', stop);
    try {
      for await (const { data, errors } of results) {
        if (errors?.[0]) throw new ParleyError(errors[0] as GraphQLFault);
        // A subscription has one root field.
        const [event] = Object.values(data ?? {}) as Data[keyof Data][];
        if (!event || signal.aborted) return;
        await onEvent(event);
        after = event.cursor;
        failures = 0;
      }
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async function followOn() {
    while (!signal.aborted) {
      const startedAt = Date.now();
      await followConnection().catch((problem: unknown) => {
        const error = toError(problem);
        if (!hasCode(error, 'UNREACHABLE', 'INTERNAL_SERVER_ERROR', 'RATE_LIMITED')) throw error;
      });
      if (Date.now() - startedAt > LONGEST_WAIT_MS) failures = 0;
      const waitMs = Math.min(FIRST_WAIT_MS * 2 ** failures++, LONGEST_WAIT_MS);
      // At random, so that not every dashboard comes back at once when the server was restarted.
      await sleep(waitMs * (0.5 + Math.random() / 2));
    }
  }

  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([aborted, followOn()]);
}

/** A connection for one subscription. That it ends with the first failure is why `follow` knows the cursor. */
function openSocket(parley: Parley, onConnection: (isLive: boolean) => void) {
  let silence: ReturnType<typeof setTimeout> | undefined;
  const socket = createClient({
    url: endpointOf(parley).replace(/^http/, 'ws'),
    webSocketImpl: parley.webSocketImpl,
    connectionParams: { authorization: `Bearer ${parley.apiKey}` },
    connectionAckWaitTimeout: PONG_WITHIN_MS,
    retryAttempts: 0,
    keepAlive: PING_EVERY_MS,
    on: {
      connected: () => onConnection(true),
      closed() {
        clearTimeout(silence);
        onConnection(false);
      },
      // A connection can die without a word, such as when a laptop sleeps: only a missing pong tells.
      ping(isReceived) {
        if (!isReceived) silence = setTimeout(() => socket.terminate(), PONG_WITHIN_MS);
      },
      pong(isReceived) {
        if (isReceived) clearTimeout(silence);
      },
    },
  });
  return socket;
}

/** graphql-ws throws errors of GraphQL, close events of the socket, and what else a WebSocket calls an error. */
function toError(problem: unknown): unknown {
  if (Array.isArray(problem)) return new ParleyError(problem[0] as GraphQLFault);
  if (problem instanceof ParleyError) return problem;
  const { code, reason } = problem as Partial<CloseEvent>;
  if (code === CloseCode.Forbidden) {
    return new ParleyError({ message: 'The key was refused', extensions: { code: 'UNAUTHENTICATED' } });
  }
  if (code === CloseCode.BadRequest || code === CloseCode.SubprotocolNotAcceptable) {
    return new ParleyError({
      message: `Closed with ${code}: ${reason}`,
      extensions: { code: 'BAD_REQUEST' },
    });
  }
  if (problem instanceof Error && typeof code !== 'number') return problem;
  return unreachable(`The connection was lost (${code ?? 'no connection'})`, problem);
}

interface CloseEvent {
  readonly code: number;
  readonly reason: string;
}
