import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import { eventually } from './receiver.js';

/** A WebSocket without a GraphQL client between. */
export interface RawSocket {
  readonly socket: WebSocket;
  // biome-ignore lint/suspicious/noExplicitAny: tests look at messages freely
  readonly messages: any[];
  /** The code that it was closed with. */
  readonly closed: Promise<number>;
  send(message: object): void;
  /** Sends the credential and waits until it is accepted. */
  init(apiKey: string): Promise<void>;
  /** Begins an operation under an id. */
  run(id: string, query: string, variables?: object): void;
}

export async function openRawSocket(
  url: string,
  protocols: string[] = ['graphql-transport-ws'],
): Promise<RawSocket> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, protocols);
  onTestFinished(() => socket.terminate());
  const messages: RawSocket['messages'] = [];
  const closed = new Promise<number>((resolve) => socket.on('close', resolve));
  socket.on('message', (data) => messages.push(JSON.parse(String(data))));
  const send = (message: object) => socket.send(JSON.stringify(message));
  await once(socket, 'open');
  return {
    socket,
    messages,
    closed,
    send,
    async init(apiKey) {
      send({ type: 'connection_init', payload: { authorization: `Bearer ${apiKey}` } });
      await eventually(() => messages.some(({ type }) => type === 'connection_ack'));
    },
    run: (id, query, variables = {}) => send({ type: 'subscribe', id, payload: { query, variables } }),
  };
}
