import { type ClientRequest, request } from 'node:http';
import { WebSocket } from 'ws';
import { REST } from './app.js';

/** What a subscriber got of one event. */
export interface SeenEvent {
  readonly sequence: number;
  readonly cursor: string;
  /** The body of the message, which says whose it is; null for events about none. */
  readonly body: string | null;
}

export interface ChurnSubscriber {
  /** The sequences of all that came, as it came. */
  readonly sequences: number[];
  /** How often it has connected. */
  connections(): number;
  /** Breaks its connection; it makes another one and goes on behind the last event. */
  cut(): void;
  stop(): void;
}

/** How a connection is made: behind a cursor, with what it brings and when it ends. */
type Connect = (
  url: string,
  after: string,
  onEvent: (event: SeenEvent) => void,
  onEnd: () => void,
) => () => void;

const LONGEST_PAUSE_MS = 200;

/**
 * Follows the log over one connection after the other, each to a server that `pickUrl` names.
 * @param onEvent sees every event as it comes
 */
export function startChurnSubscriber(
  connect: Connect,
  pickUrl: () => string,
  start: string,
  onEvent: (event: SeenEvent) => void,
): ChurnSubscriber {
  const sequences: number[] = [];
  let after = start;
  let connections = 0;
  let isStopped = false;
  let cut = () => {};

  function open(): void {
    if (isStopped) return;
    connections++;
    let isEnded = false;
    cut = connect(
      pickUrl(),
      after,
      (event) => {
        if (isEnded) return;
        after = event.cursor;
        sequences.push(event.sequence);
        onEvent(event);
      },
      () => {
        if (!isEnded) setTimeout(open, Math.random() * LONGEST_PAUSE_MS);
        isEnded = true;
      },
    );
  }

  open();
  return {
    sequences,
    connections: () => connections,
    cut: () => cut(),
    stop() {
      isStopped = true;
      cut();
    },
  };
}

/** Over graphql-transport-ws. The subscription has one root field with `sequence`, `cursor` and `message`. */
export const overWebSocket =
  (apiKey: string, query: string, variables: object): Connect =>
  (url, after, onEvent, onEnd) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    const send = (message: object) => socket.send(JSON.stringify(message));
    socket.on('open', () =>
      send({ type: 'connection_init', payload: { authorization: `Bearer ${apiKey}` } }),
    );
    socket.on('message', (data) => {
      const { type, payload } = JSON.parse(String(data));
      if (type === 'connection_ack') {
        send({ type: 'subscribe', id: '1', payload: { query, variables: { ...variables, after } } });
      } else if (type === 'next') {
        const [{ sequence, cursor, message }] = Object.values(payload.data) as [SeenMessageEvent];
        onEvent({ sequence, cursor, body: message?.content.body ?? null });
      } else throw new Error(`The server sent ${data}`);
    });
    socket.on('error', () => {});
    socket.on('close', onEnd);
    return () => socket.terminate();
  };

/** Over server-sent events, as a browser does it. */
export const overEventStream =
  (apiKey: string, query: string): Connect =>
  (url, after, onEvent, onEnd) => {
    let text = '';
    const call: ClientRequest = request(`${url}${REST}/events${query}`, {
      headers: { authorization: `Bearer ${apiKey}`, 'last-event-id': after },
      agent: false,
    });
    call.on('response', (response) => {
      if (response.statusCode !== 200) throw new Error(`The server answered ${response.statusCode}`);
      response.setEncoding('utf8').on('data', (chunk: string) => {
        const frames = (text + chunk).split('\n\n');
        text = frames.pop() ?? '';
        for (const frame of frames) {
          const [, cursor] = /^id: (.*)$/m.exec(frame) ?? [];
          const [, data] = /^data: (.*)$/m.exec(frame) ?? [];
          if (!cursor || !data) continue;
          const { sequence, message } = JSON.parse(data) as SeenMessageEvent;
          onEvent({ sequence, cursor, body: message?.content.body ?? null });
        }
      });
      response.on('error', () => {}).on('close', onEnd);
    });
    call.on('error', onEnd);
    call.end();
    return () => void call.destroy();
  };

interface SeenMessageEvent {
  readonly sequence: number;
  readonly cursor: string;
  readonly message?: { readonly content: { readonly body: string } } | null;
}
