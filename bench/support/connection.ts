import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Request } from './load.js';

/** What a server answered. */
export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

const END_OF_HEAD = Buffer.from('\r\n\r\n');
const LENGTH = /\r\ncontent-length: (\d+)\r\n/i;

/**
 * One keep-alive connection that sends a request when the last one has been answered. It does the least there is to
 * do, because it runs on the processors of what it measures, and both sides pay for it alike: it knows answers of a
 * stated length only.
 */
export class HttpConnection {
  readonly #socket: Socket;
  readonly #host: string;
  #received: Buffer[] = [];
  #length = 0;
  /** Of the answer under way: where it ends, once its head is there. */
  #end = Number.POSITIVE_INFINITY;
  #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;

  private constructor(socket: Socket, host: string) {
    this.#socket = socket;
    this.#host = host;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#waiting?.reject(error));
    socket.on('close', () => this.#waiting?.reject(new Error('the connection was closed')));
  }

  static async open(url: string): Promise<HttpConnection> {
    const { hostname, port, host } = new URL(url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    return new HttpConnection(socket, host);
  }

  send({ method, path, headers, body = '' }: Request): Promise<Answer> {
    let head = `${method} ${path} HTTP/1.1\r\nhost: ${this.#host}\r\n`;
    for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
    if (body !== '') head += `content-length: ${Buffer.byteLength(body)}\r\n`;
    this.#socket.write(`${head}\r\n${body}`);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  close(): void {
    this.#waiting = undefined;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#received.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#end && this.#end !== Number.POSITIVE_INFINITY) return;
    const received = this.#received.length === 1 ? chunk : Buffer.concat(this.#received);
    this.#received = [received];
    const endOfHead = received.indexOf(END_OF_HEAD);
    if (endOfHead === -1) return;
    const head = received.toString('latin1', 0, endOfHead + 2);
    const length = LENGTH.exec(head)?.[1];
    const waiting = this.#waiting;
    if (length === undefined) {
      waiting?.reject(new Error(`an answer without a length: ${head}`));
      return;
    }
    const start = endOfHead + END_OF_HEAD.length;
    this.#end = start + Number(length);
    if (this.#length < this.#end) return;
    this.#received = [];
    this.#length = 0;
    this.#end = Number.POSITIVE_INFINITY;
    this.#waiting = undefined;
    waiting?.resolve({ status: Number(head.slice(9, 12)), body: received.subarray(start) });
  }
}
