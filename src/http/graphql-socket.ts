import type { Socket } from 'node:net';
import type { Server } from 'graphql-ws';
import type { WebSocket } from 'ws';
import type { Log } from '../log.js';

/** Clients do. To graphql-ws's own code for it (4500) they would not come back, even if the database was away for a moment. */
export const TRY_AGAIN_LATER = 1013;

/** What is known of a connection. */
export type Connection = {
  readonly socket: WebSocket;
  /** What the socket speaks on. */
  readonly stream: Socket;
  /** Checked again for every operation. */
  credential?: string | undefined;
  /** Those under way, subscriptions that have not come to their end included. */
  operations: number;
  release?: () => void;
};

const KEEP_ALIVE_MS = 12_000;
/** Two minutes in all. */
const INTERVALS_TO_READ = 9;
const PING_BYTES = 2;
/** Answers that a client leaves unread, in bytes. From there on nothing is read of it either. */
const MAX_UNREAD_BYTES = 1_048_576;

/**
 * Speaks graphql-transport-ws on a socket. The library's own adapter writes every stranger's malformed frame to
 * the console, and reads on from a client that reads nothing.
 */
export function serveSocket<Extra extends Connection>(
  protocol: Server<Extra & Record<PropertyKey, unknown>>,
  extra: Extra & Record<PropertyKey, unknown>,
  log: Log,
): void {
  const { socket } = extra;
  const stopPinging = keepAlive(extra);
  socket.on('ping', () => waitForReader(socket));
  // The socket is then closed, with the code that says why, by ws itself.
  socket.on('error', (error) => log.debug({ err: error }, 'a WebSocket broke'));

  const closed = protocol.opened(
    {
      protocol: socket.protocol,
      send: (text) => send(extra, Buffer.from(text)),
      close: (code, reason) => socket.close(code, reason),
      onMessage: (handle) =>
        socket.on('message', (data) => {
          waitForReader(socket);
          handle(String(data)).catch((error: unknown) => {
            log.warn({ err: error }, 'a WebSocket message could not be handled');
            socket.close(TRY_AGAIN_LATER, 'Try again later');
          });
        }),
    },
    extra,
  );
  socket.once('close', (code, reason) => {
    stopPinging();
    closed(code, String(reason)).catch((error: unknown) =>
      log.warn({ err: error }, 'a WebSocket could not be cleaned up after'),
    );
  });
}

/**
 * Sends a message, given in parts. What is sent within a turn goes to the system in one piece, once nothing else is to
 * be done in it: for a small message the system's call takes as long as all else together.
 * Returns when there is room for more (the stream's high-water mark), or resolves when all that was sent is on its way
 * to the client; what a closed or broken socket would have got is dropped.
 */
export function send({ socket, stream }: Connection, ...parts: readonly Buffer[]): Promise<void> | undefined {
  if (socket.readyState !== socket.OPEN) return;
  if (stream.writableCorked === 0) {
    stream.cork();
    process.nextTick(uncork, stream);
  }
  let onSent = () => {};
  const hasRoom = stream.write(textFrame(parts), () => onSent());
  if (hasRoom) return;
  return new Promise((resolve) => {
    onSent = resolve;
  });
}

const uncork = (stream: Socket) => stream.uncork();

const FINAL_TEXT = 0x81;

/**
 * A message in one frame, as a server sends it: unmasked, and here never compressed (RFC 6455, section 5.2). It is in
 * one piece: ws writes head and text apart, which takes the system half as long again.
 */
function textFrame(parts: readonly Buffer[]): Buffer {
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  const headBytes = bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(headBytes + bytes);
  frame[0] = FINAL_TEXT;
  if (headBytes === 2) {
    frame[1] = bytes;
  } else if (headBytes === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(bytes, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(bytes), 2);
  }
  let at = headBytes;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

/**
 * Pings at intervals, and gives up on a client that has sent nothing since the last. Any byte will do: an answer to
 * a ping waits behind what the client is sending, such as a large message over a slow line. It also waits behind what
 * the client has not read yet: one that was sent something may take its time over it.
 */
function keepAlive({ socket, stream }: Connection): () => void {
  let bytesRead = -1;
  let silentIntervals = 0;
  let bytesWrittenWhenHeard = 0;
  let pingsSinceHeard = 0;
  const hear = () => {
    bytesWrittenWhenHeard = stream.bytesWritten;
    pingsSinceHeard = 0;
  };
  socket.on('message', hear).on('ping', hear).on('pong', hear);

  const interval = setInterval(() => {
    silentIntervals = stream.bytesRead === bytesRead ? silentIntervals + 1 : 0;
    bytesRead = stream.bytesRead;
    const wasSentMore = stream.bytesWritten - bytesWrittenWhenHeard > pingsSinceHeard * PING_BYTES;
    if (silentIntervals > (wasSentMore ? INTERVALS_TO_READ : 0)) return socket.terminate();
    pingsSinceHeard++;
    if (socket.readyState === socket.OPEN) socket.ping();
  }, KEEP_ALIVE_MS);
  return () => clearInterval(interval);
}

/** Pauses while too many answers wait to be read; a ping is sent behind them, and tells when they are gone. */
function waitForReader(socket: WebSocket): void {
  if (socket.bufferedAmount <= MAX_UNREAD_BYTES || socket.isPaused || socket.readyState !== socket.OPEN)
    return;
  socket.pause();
  socket.ping(undefined, undefined, () => socket.resume());
}
