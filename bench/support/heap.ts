import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { Child } from './child.js';

/** What has Node listen for an inspector, on a port that the system picks. */
export const INSPECTABLE = ['--inspect=127.0.0.1:0'];

/** How many bytes a program's heap holds after a forced collection, by Node's inspector. */
export async function heapOf(program: Child): Promise<number> {
  const [, address] = /Debugger listening on (\S+)/.exec(await program.log()) ?? [];
  if (!address) throw new Error('The program was not started with the inspector');
  const socket = new WebSocket(address);
  await once(socket, 'open');
  let id = 0;
  const call = async (method: string) => {
    const own = ++id;
    socket.send(JSON.stringify({ id: own, method }));
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
    return (await call('Runtime.getHeapUsage')).usedSize;
  } finally {
    socket.terminate();
  }
}
