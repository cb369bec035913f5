import { once } from 'node:events';
import { WebSocket } from 'ws';
import { GRAPHQL_PATH, headersOf, type Tenant } from './api.js';
import { Arrivals } from './arrivals.js';

/** How one of the sockets gets to hear of something. */
export interface Seat {
  readonly url: string;
  readonly protocol?: string;
  /** Asks for it; resolves when it is asked for. */
  readonly ask?: (socket: WebSocket) => Promise<void>;
}

const EVENT = `subscription ($threadId: ID!) {
  messageAdded(threadId: $threadId) {
    cursor
    message { id threadId position direction channel channelKey content status createdAt }
  }
}`;

/** A subscription to the messages of a thread (graphql-transport-ws). */
export const subscribing = (url: string, tenant: Tenant, threadId: string): Seat => ({
  url: `${url}${GRAPHQL_PATH}`,
  protocol: 'graphql-transport-ws',
  async ask(socket) {
    const { authorization } = headersOf(tenant.apiKey);
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization } }));
    const [answer] = await once(socket, 'message');
    if (JSON.parse(String(answer)).type !== 'connection_ack')
      throw new Error(`A socket was refused: ${answer}`);
    socket.send(
      JSON.stringify({ type: 'subscribe', id: '1', payload: { query: EVENT, variables: { threadId } } }),
    );
  },
});

/** Many sockets, several on every seat, that wait for numbered messages. */
export class Audience {
  readonly #sockets: WebSocket[] = [];
  readonly arrivals: Arrivals;
  /** What came last, as it came. */
  lastEvent = '';

  private constructor(ofASeat: number) {
    this.arrivals = new Arrivals(ofASeat);
  }

  static async gather(seats: readonly Seat[], ofASeat: number): Promise<Audience> {
    const audience = new Audience(ofASeat);
    for (const seat of seats) {
      await Promise.all(Array.from({ length: ofASeat }, () => audience.#sit(seat)));
    }
    return audience;
  }

  leave(): void {
    for (const socket of this.#sockets) socket.terminate();
  }

  async #sit({ url, protocol, ask }: Seat): Promise<void> {
    const socket = new WebSocket(url.replace('http', 'ws'), protocol ? [protocol] : []);
    await once(socket, 'open');
    await ask?.(socket);
    socket.on('message', (data: Buffer) => this.#hear(data));
    this.#sockets.push(socket);
  }

  #hear(data: Buffer): void {
    this.lastEvent = data.toString();
    this.arrivals.note(this.lastEvent);
  }
}
