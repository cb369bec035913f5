import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { Program } from './process.js';

/** The environment of a program whose memory is to be looked at. The port is picked by the system. */
export const inspectable = { NODE_OPTIONS: '--inspect=127.0.0.1:0' };

export interface Memory {
  /** In bytes, after a forced collection. */
  readonly heapUsed: number;
  /** Buffers, in bytes. */
  readonly external: number;
  /** All that the process holds, in bytes. */
  readonly rss: number;
}

/** What a running program holds after a forced collection, through Node's inspector. */
export async function memoryOf(program: Program): Promise<Memory> {
  const [, address] = /Debugger listening on (\S+)/.exec(program.stderr()) ?? [];
  if (!address) throw new Error('The program was not started with the inspector');
  const socket = new WebSocket(address);
  await once(socket, 'open');
  let id = 0;
  const call = async (method: string, params: object = {}) => {
    const own = ++id;
    socket.send(JSON.stringify({ id: own, method, params }));
    for (;;) {
      const [message] = await once(socket, 'message');
      const answer = JSON.parse(String(message));
      if (answer.id === own) return answer.result;
    }
  };
  try {
    // Twice: what the first one finalises is freed by the second.
    await call('HeapProfiler.collectGarbage');
    await call('HeapProfiler.collectGarbage');
    const { result } = await call('Runtime.evaluate', {
      expression: 'JSON.stringify(process.memoryUsage())',
    });
    return JSON.parse(result.value);
  } finally {
    socket.terminate();
  }
}
