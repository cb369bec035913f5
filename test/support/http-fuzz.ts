import { randomInt } from 'node:crypto';
import { Agent, request as httpRequest } from 'node:http';
import fc from 'fast-check';
import { expect } from 'vitest';
import { type Client, REST } from './app.js';
import { type FuzzRequest, requestTo } from './http-fuzz-requests.js';
import { inspectable, memoryOf } from './memory.js';
import { checksOf, type OpenApiDocument, readOpenApi } from './openapi.js';
import { install } from './process.js';

/** No answer may take longer. */
const SLOWEST_MS = 5_000;
/** How far the heap may be from where it was before the first request, both after a forced collection. */
const MAX_GROWTH_BYTES = 20 * 1024 * 1024;
const AT_ONCE = 4;
const MAX_WEBHOOKS = 20;

/** What a run saw. */
interface FuzzFigures {
  readonly seed: number;
  requests: number;
  slowestMs: number;
  readonly statuses: Record<number, number>;
}

interface FuzzAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly ms: number;
}

/**
 * Throws generated requests at a fresh Parley in a process of its own, and fails when one of them gets an answer
 * that it may not get, when something unexpected is logged, or when the heap grows. `FUZZ_SEED` repeats a run.
 */
export async function fuzzFreshParley(requests: number): Promise<void> {
  const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
  console.info(`FUZZ_SEED=${seed}`);
  const installation = await install({ ...inspectable, LOG_LEVEL: 'error' });
  const parley = await installation.start();
  const document = await readOpenApi(parley.url);
  const before = await memoryOf(parley);
  const figures = await fuzz(parley.url, parley.operator, document, { requests, seed });
  const grownBytes = (await memoryOf(parley)).heapUsed - before.heapUsed;
  console.info({ ...figures, grownBytes });
  expect(parley.stderr()).not.toContain('"level":50');
  expect(grownBytes).toBeLessThan(MAX_GROWTH_BYTES);
}

/** An email with an attachment, so that there is something to find. */
const furniture: FuzzRequest[] = [
  {
    method: 'POST',
    template: '',
    path: `${REST}/inbound`,
    headers: { authorization: 'Bearer §key§', 'content-type': 'application/json' },
    body: JSON.stringify({
      workflowId: 'workflow_1',
      participantId: 'participant_1',
      channel: 'email',
      channelKey: 'participant_1@example.com',
      content: { body: '', attachments: [{ filename: 'a', contentType: 'text/plain', data: 'QUJDREVG' }] },
    }),
  },
  {
    method: 'GET',
    template: '',
    path: `${REST}/messages/§message:0§`,
    headers: { authorization: 'Bearer §key§' },
    body: null,
  },
];

/**
 * Throws generated requests at every operation of the document, and fails with the smallest group of them that
 * gets a 5xx, waits too long, or is answered otherwise than the document says. The seed repeats a run.
 */
async function fuzz(
  url: string,
  client: Client,
  document: OpenApiDocument,
  { requests, seed }: { requests: number; seed: number },
): Promise<FuzzFigures> {
  const figures: FuzzFigures = { seed, requests: 0, slowestMs: 0, statuses: {} };
  const check = checkerOf(document);
  const known = new KnownIds(client);
  const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
  const furnish = async () => {
    for (const request of furniture) await known.learn(await send(url, agent, known.resolve(request)));
  };
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.array(requestTo(document), { minLength: AT_ONCE, maxLength: AT_ONCE }),
        async (group) => {
          // What there is gets deleted, too.
          if (figures.requests % (25 * AT_ONCE) === 0) await furnish();
          await Promise.all(
            group.map(async (given) => {
              const sent = known.resolve(given);
              const answer = await send(url, agent, sent);
              figures.requests++;
              figures.slowestMs = Math.max(figures.slowestMs, answer.ms);
              figures.statuses[answer.status] = (figures.statuses[answer.status] ?? 0) + 1;
              const faults = check(sent, answer);
              if (faults.length > 0) throw new Error(describe(sent, answer, faults));
              await known.learn(answer);
            }),
          );
        },
      ),
      { numRuns: Math.ceil(requests / AT_ONCE), seed },
    );
  } finally {
    agent.destroy();
  }
  return figures;
}

const shorten = (text: string) => (text.length > 2_000 ? `${text.slice(0, 2_000)}… (${text.length})` : text);

const describe = ({ method, path, headers, body }: FuzzRequest, answer: FuzzAnswer, faults: string[]) =>
  [
    `${method} ${path} ${JSON.stringify(headers)}`,
    shorten(body === null ? '' : String(body)),
    `answered ${answer.status} after ${Math.round(answer.ms)} ms: ${shorten(answer.text)}`,
    ...faults,
  ].join('\n');

/** The ids and cursors that answers have shown, so that requests get further than to a 404. */
class KnownIds {
  readonly #client: Client;
  readonly #known = new Map<string, string[]>();

  constructor(client: Client) {
    this.#client = client;
  }

  resolve(request: FuzzRequest): FuzzRequest {
    const fill = (text: string) =>
      text.replace(/§(\w+):(\d+)§/g, (_, noun, number) => {
        if (noun === 'large') return 'x'.repeat(number * 1024 * 1024);
        const ids = this.#known.get(noun) ?? [];
        // The newest first: the old ones may be gone.
        return ids.at(-1 - (number % ids.length)) ?? `${noun}_01h455vb4pex5vsknk084sn02q`;
      });
    return {
      ...request,
      path: fill(request.path),
      headers: Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [
          name,
          value === '§key§' ? this.#client.apiKey : fill(value.replace('§key§', this.#client.apiKey)),
        ]),
      ),
      body: typeof request.body === 'string' ? fill(request.body) : request.body,
    };
  }

  async learn({ status, headers, text }: FuzzAnswer): Promise<void> {
    if (status !== 200) return;
    this.#add('cursor', headers.get('x-event-cursor') ?? '');
    const isGone = text.endsWith('"deleted":true}');
    for (const [id, noun] of text.matchAll(/\b(thread|message|webhook|attachment)_[0-9a-z]{26}\b/g)) {
      if (isGone) this.#known.set(noun!, this.#known.get(noun!)?.filter((other) => other !== id) ?? []);
      else this.#add(noun!, id);
    }
    // Every webhook gets every event: a few are enough.
    const webhooks = this.#known.get('webhook') ?? [];
    for (const id of webhooks.splice(MAX_WEBHOOKS)) {
      await this.#client.rest('DELETE', `/outbound/webhook/${id}`);
    }
  }

  #add(noun: string, id: string): void {
    const ids = this.#known.get(noun) ?? [];
    if (id === '' || ids.includes(id)) return;
    if (noun !== 'webhook' && ids.length >= 50) ids.shift();
    ids.push(id);
    this.#known.set(noun, ids);
  }
}

function send(url: string, agent: Agent, { method, path, headers, body }: FuzzRequest): Promise<FuzzAnswer> {
  const { hostname, port } = new URL(url);
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    // Said by hand, because Node says it of some methods only.
    const length = body === null ? {} : { 'content-length': Buffer.byteLength(body) };
    const request = httpRequest({ hostname, port, agent, method, path, headers: { ...headers, ...length } });
    const timeout = setTimeout(
      () => request.destroy(new Error(`No answer to ${method} ${shorten(path)} after ${2 * SLOWEST_MS} ms`)),
      2 * SLOWEST_MS,
    );
    request.on('error', (error) => {
      clearTimeout(timeout);
      reject(error);
    });
    request.on('response', (response) => {
      let text = '';
      const finish = () => {
        clearTimeout(timeout);
        resolve({
          status: response.statusCode ?? 0,
          headers: new Headers(response.headers as Record<string, string>),
          text,
          ms: performance.now() - startedAt,
        });
      };
      const isEndless = response.headers['content-type']?.startsWith('text/event-stream');
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        if (!isEndless) return;
        finish();
        response.destroy();
      });
      response.on('end', finish);
    });
    request.end(body ?? undefined);
  });
}

/** What is wrong with an answer. */
function checkerOf(document: OpenApiDocument) {
  const checks = checksOf(document);
  const templates = Object.keys(document.paths);
  const patternOf = (template: string) => new RegExp(`^${template.replace(/\{\w+\}/g, '[^/]+')}$`);
  return ({ method, path }: FuzzRequest, { status, headers, text, ms }: FuzzAnswer): string[] => {
    const faults: string[] = [];
    if (ms > SLOWEST_MS) faults.push('it took too long');
    if (status >= 500 || status < 200) faults.push('it has a status that no request may get');
    if (!headers.get('x-request-id')) faults.push('it has no X-Request-Id');
    const isJson = headers.get('content-type')?.startsWith('application/json') ?? false;
    if (method === 'HEAD') return faults;
    const template = templates.find((candidate) => patternOf(candidate).test(path.split('?')[0] ?? ''));
    const isMounted = template !== undefined && method.toLowerCase() in (document.paths[template] ?? {});
    const body = isJson ? JSON.parse(text) : null;
    // The document says nothing of bodies where none belongs.
    const isOdd = status === 413 && !document.paths[template ?? '']?.[method.toLowerCase()]?.requestBody;
    if (isMounted && !isOdd) faults.push(...checks.faultsOfAnswer(method, template, status, headers, body));
    else if (status < 400) faults.push('there is nothing at this path');
    else faults.push(...checks.faultsOfComponent('ErrorAnswer', body));
    return faults;
  };
}
