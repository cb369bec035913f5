import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A way to a server that can be broken. */
export interface Wire {
  readonly url: string;
  /** Breaks every connection there is; new ones stand. */
  cut(): void;
  /** Lets nothing through any more, without a word, on the connections there are; new ones work. */
  freeze(): void;
  /** Lets the next request through, and breaks its connection instead of bringing the answer. */
  loseNextAnswer(): void;
}

/** A TCP proxy before a server on loopback. */
export async function startWire(target: string): Promise<Wire> {
  const { hostname, port } = new URL(target);
  const pairs = new Set<readonly [Socket, Socket]>();
  let losesAnswer = false;

  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    const pair = [near, far] as const;
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
    near.pipe(far);
    far.on('data', (chunk: Buffer) => {
      if (losesAnswer) {
        losesAnswer = false;
        end();
      } else near.write(chunk);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const [near] of [...pairs]) near.destroy();
  };
  onTestFinished(() => {
    cut();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    freeze() {
      for (const [near, far] of pairs) {
        near.unpipe(far).pause();
        far.removeAllListeners('data').pause();
      }
    },
    loseNextAnswer() {
      losesAnswer = true;
    },
  };
}
