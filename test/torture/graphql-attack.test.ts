import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, it, onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import { type Attack, attacks, introspection, textOf } from '../support/attacks.js';
import { install, type Parley } from '../support/process.js';
import { eventually } from '../support/receiver.js';

const ROUNDS = 1_000;
/** How many hostile requests are under way at once, on each transport. */
const AT_ONCE = 4;
/** How often the client asks while it is measured alone. */
const QUIET_REQUESTS = 1_000;
const MEGABYTE = 1_048_576;

const everyAttack = [...attacks, introspection];

it(`serves a well-behaved client while ${ROUNDS} of each attack are refused on both transports`, async () => {
  const installation = await install({
    GRAPHQL_INTROSPECTION: 'false',
    LOG_LEVEL: 'warn',
    NODE_OPTIONS: '--inspect=127.0.0.1:0',
  });
  const parley = await installation.start();
  const heap = await watchHeap(parley);
  await fill(parley);
  const socket = await openSocket(parley);

  const client = startClient(parley);

  // Both are warm: what is measured is neither compiled nor cached for the first time.
  for (const attack of everyAttack) await client.during(() => strike(parley, socket, attack, 50));
  const quiet = percentile95(await client.alone(QUIET_REQUESTS));
  const before = await heap.afterCollection();

  const figures: Record<string, number> = {};
  for (const attack of everyAttack) {
    const latencies = await client.during(() => strike(parley, socket, attack, ROUNDS));
    expect(latencies.length).toBeGreaterThan(20);
    figures[attack.name] = percentile95(latencies);
  }
  const after = await heap.afterCollection();

  const grownBy = (after - before) / MEGABYTE;
  process.stdout.write(
    `p95 in ms: ${quiet.toFixed(1)} quiet; ${JSON.stringify(figures, (_key, value) =>
      typeof value === 'number' ? Number(value.toFixed(1)) : value,
    )}; the heap grew by ${grownBy.toFixed(1)} MB\n`,
  );
  for (const [name, p95] of Object.entries(figures)) {
    expect(p95, `p95 during "${name}", against ${quiet} ms when it is quiet`).toBeLessThan(3 * quiet);
  }
  expect(grownBy).toBeLessThan(50);
}, 900_000);

async function fill({ operator }: Parley): Promise<void> {
  for (let thread = 0; thread < 50; thread++) {
    const { status } = await operator.rest('POST', '/inbound', {
      workflowId: 'workflow_1',
      participantId: `participant_${thread}`,
      channel: 'chat',
      channelKey: 'x',
      content: { body: 'Hello' },
    });
    expect(status).toBe(200);
  }
}

/** Works on while something else is done; answers with how long each of its requests took, in ms. */
function startClient({ url, apiKey }: Parley) {
  const query = '{ threads(first: 20) { edges { node { id participantId lastMessage { content } } } } }';
  const worker = new Worker(new URL('../support/well-behaved.mjs', import.meta.url), {
    workerData: { url, apiKey, query },
  });
  onTestFinished(async () => void (await worker.terminate()));
  return {
    async alone(requests: number): Promise<number[]> {
      const latencies = once(worker, 'message');
      worker.postMessage(requests);
      return (await latencies)[0];
    },
    async during(work: () => Promise<unknown>): Promise<number[]> {
      const latencies = once(worker, 'message');
      worker.postMessage(Number.POSITIVE_INFINITY);
      await work();
      worker.postMessage('stop');
      return (await latencies)[0];
    },
  };
}

/** So many requests over each transport, each one another text, and every one refused. */
async function strike(parley: Parley, socket: HostileSocket, attack: Attack, count: number): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const n = next++;
      const [overHttp, overWebSocket] = await Promise.all([
        parley.operator.graphql(textOf(attack, n)),
        socket.ask(textOf(attack, n)),
      ]);
      expect(overHttp.status).toBe(400);
      expect(overHttp.body.errors[0].extensions.code).toBe(attack.code);
      expect(overWebSocket.type).toBe('error');
      expect(overWebSocket.payload[0]?.extensions.code).toBe(attack.code);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

interface Message {
  readonly type: string;
  readonly payload: readonly { extensions: { code: string } }[];
}

interface HostileSocket {
  /** Sends an operation and answers with the first message about it. */
  ask(query: string): Promise<Message>;
}

async function openSocket({ url, apiKey }: Parley): Promise<HostileSocket> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  onTestFinished(() => socket.terminate());
  const waiting = new Map<string, (message: Message) => void>();
  let isReady = false;
  socket.on('message', (data) => {
    const message = JSON.parse(String(data));
    if (message.type === 'connection_ack') isReady = true;
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
  });
  const send = (message: object) => socket.send(JSON.stringify(message));
  socket.on('open', () => send({ type: 'connection_init', payload: { authorization: `Bearer ${apiKey}` } }));
  await eventually(() => isReady);
  let asked = 0;
  return {
    ask: (query) =>
      new Promise((resolve) => {
        const id = String(asked++);
        waiting.set(id, resolve);
        send({ type: 'subscribe', id, payload: { query } });
      }),
  };
}

/** Looks into the process through Node's inspector: it can collect garbage without a switch in the product. */
async function watchHeap(parley: Parley): Promise<{ afterCollection(): Promise<number> }> {
  const inspector = new WebSocket(/ws:\/\/\S+/.exec(parley.stderr())?.[0] ?? '');
  onTestFinished(() => inspector.terminate());
  const waiting = new Map<number, (result: { usedSize: number }) => void>();
  inspector.on('message', (data) => {
    const { id, result } = JSON.parse(String(data));
    waiting.get(id)?.(result);
  });
  await eventually(() => inspector.readyState === inspector.OPEN);
  let asked = 0;
  const call = (method: string) =>
    new Promise<{ usedSize: number }>((resolve) => {
      const id = ++asked;
      waiting.set(id, resolve);
      inspector.send(JSON.stringify({ id, method }));
    });
  return {
    async afterCollection() {
      for (let time = 0; time < 3; time++) await call('HeapProfiler.collectGarbage');
      return (await call('Runtime.getHeapUsage')).usedSize;
    },
  };
}

function percentile95(latencies: readonly number[]): number {
  const sorted = [...latencies].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.95)] ?? 0;
}
