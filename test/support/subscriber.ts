import { createClient, type Client as WebSocketClient } from 'graphql-ws';
import { onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import { eventually } from './receiver.js';

export interface Subscriber {
  // biome-ignore lint/suspicious/noExplicitAny: tests look at events freely
  readonly events: any[];
  readonly errors: unknown[];
  // biome-ignore lint/suspicious/noExplicitAny: see above
  waitFor(count: number): Promise<any[]>;
  stop(): void;
}

/** A graphql-ws client with one API key. */
export function connect(url: string, apiKey: string | null): WebSocketClient {
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    ...(apiKey !== null && { connectionParams: { authorization: `Bearer ${apiKey}` } }),
  });
  onTestFinished(() => client.dispose());
  return client;
}

/**
 * Subscribes and keeps what comes. Resolves once the connection stands.
 * @param onEvent is called with each result as it comes
 */
export async function subscribe(
  client: WebSocketClient,
  query: string,
  variables = {},
  // biome-ignore lint/suspicious/noExplicitAny: see above
  onEvent: (result: any) => void = () => {},
): Promise<Subscriber> {
  const events: unknown[] = [];
  const errors: unknown[] = [];
  const connected = new Promise<void>((resolve) => client.on('connected', () => resolve()));
  const stop = client.subscribe(
    { query, variables },
    {
      next(value) {
        events.push(value);
        onEvent(value);
      },
      error: (error) => errors.push(error),
      complete: () => {},
    },
  );
  await Promise.race([connected, eventually(() => errors.length > 0)]);
  return {
    events,
    errors,
    stop,
    async waitFor(count) {
      await eventually(() => events.length >= count, {
        describe: () => `${count} events, got ${events.length}`,
      });
      return events;
    },
  };
}
