import { onTestFinished } from 'vitest';
import { type Client, REST } from './app.js';
import { eventually } from './receiver.js';

/** One server-sent event as it came. */
export interface ServerSentEvent {
  readonly id: string;
  readonly event: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests look at events freely
  readonly data: any;
}

export interface EventStream {
  readonly response: Response;
  /** The first, empty event, which says where the stream begins. */
  readonly opening: ServerSentEvent;
  readonly events: ServerSentEvent[];
  /** What a browser would send when it connects again. */
  lastEventId(): string;
  waitFor(count: number): Promise<ServerSentEvent[]>;
  /** Resolves when the server ends the stream; rejects when the connection breaks. */
  readonly ended: Promise<void>;
  stop(): void;
}

/** Opens an event stream and keeps what comes. Resolves once the opening event is there. */
export async function follow(
  url: string,
  { apiKey }: Client,
  query = '',
  headers: Record<string, string> = {},
): Promise<EventStream> {
  const aborted = new AbortController();
  onTestFinished(() => aborted.abort());
  const response = await fetch(`${url}${REST}/events${query}`, {
    headers: { authorization: `Bearer ${apiKey}`, ...headers },
    signal: aborted.signal,
  });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  const [opening, events]: [ServerSentEvent[], ServerSentEvent[]] = [[], []];
  let lastEventId = '';
  const ended = readFrames(response, (event) => {
    lastEventId = event.id;
    if (event.data !== undefined) events.push(event);
    else if (opening.length === 0) opening.push(event);
  });
  ended.catch(() => {});
  await eventually(() => opening.length > 0, { describe: () => 'the opening event' });
  return {
    response,
    opening: opening[0]!,
    events,
    lastEventId: () => lastEventId,
    ended,
    async waitFor(count) {
      await eventually(() => events.length >= count, {
        describe: () => `${count} events, got ${events.length}`,
      });
      return events;
    },
    stop: () => aborted.abort(),
  };
}

/** Server-sent events as a browser reads them (WHATWG HTML, section 9.2.6), as far as Parley writes them. */
async function readFrames(response: Response, onEvent: (event: ServerSentEvent) => void): Promise<void> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body!) {
    text += decoder.decode(chunk, { stream: true });
    const frames = text.split('\n\n');
    text = frames.pop() ?? '';
    for (const frame of frames) {
      const fields = new Map(
        frame
          .split('\n')
          .filter((line) => !line.startsWith(':'))
          .map((line) => line.split(/: (.*)/s) as [string, string]),
      );
      const data = fields.get('data');
      const id = fields.get('id');
      if (id !== undefined)
        onEvent({ id, event: fields.get('event'), data: data === undefined ? undefined : JSON.parse(data) });
    }
  }
}
