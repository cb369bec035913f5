import { isDeepStrictEqual } from 'node:util';
import { decodeId } from '../../src/ids.js';
import { createKeys, graphql, type Tenant } from '../support/api.js';
import { type Result, type Row, ratioOf } from '../support/figures.js';
import { fill } from '../support/fill.js';
import { drive, type Request } from '../support/load.js';
import type { Options } from '../support/options.js';
import { graphqlRequest, pick, referenceRead } from '../support/requests.js';
import { compare, type Run } from '../support/rounds.js';
import type { Parley, Stage } from '../support/stage.js';

export const READ_CONNECTIONS = 32;
const FILLING = { tenants: 20, threads: 100, messages: 20 };

const MESSAGE = 'id position direction channel channelKey content status createdAt';

const THREAD_PAGE = `query ($id: ID!) {
  thread(id: $id) {
    id workflowId participantId status updatedAt
    messages(first: 20) { edges { cursor node { ${MESSAGE} } } pageInfo { hasNextPage endCursor } }
  }
}`;

const THREAD_LIST = `query {
  threads(first: 20) {
    edges {
      cursor
      node { id workflowId participantId status updatedAt messageCount lastMessage { ${MESSAGE} } }
    }
    pageInfo { hasNextPage endCursor }
  }
}`;

type RequestOf = (thread: ThreadOfTenant) => Request;

export const ofThread: RequestOf = ({ tenant, id }) => graphqlRequest(tenant, THREAD_PAGE, { id });
export const ofList: RequestOf = ({ tenant }) => graphqlRequest(tenant, THREAD_LIST, {});

export const reading =
  (
    url: string,
    threads: readonly ThreadOfTenant[],
    requestOf: RequestOf,
    connections = READ_CONNECTIONS,
  ): Run =>
  (seconds) =>
    drive({ url, connections, seconds, next: () => requestOf(pick(threads)) });

/** A page of one thread, and a list of threads, by GraphQL against SQL by hand. */
export async function read(stage: Stage, options: Options): Promise<Result> {
  const database = await stage.database('read');
  await fill(database, FILLING);
  const referenceDatabase = await stage.copy(database, 'read_reference');
  const parley = await stage.parley(database);
  const threads = await threadsOf(parley, await createKeys(parley, FILLING.tenants));
  const reference = await stage.reference('server', { DATABASE_URL: referenceDatabase });

  const against = async (name: string, ours: RequestOf, theirs: RequestOf) => {
    const thread = pick(threads);
    expectSame(name, await answerTo(parley.url, ours(thread)), await answerTo(reference.url, theirs(thread)));
    return compare(options, {
      case: name,
      connections: READ_CONNECTIONS,
      parley: reading(parley.url, threads, ours),
      against: { name: 'reference', run: reading(reference.url, threads, theirs) },
    });
  };
  const rows: Row[] = [
    await against('read, thread with 20 messages', ofThread, ({ tenant, id }) =>
      referenceRead(tenant, `/threads/${decodeId('thread', id)}`),
    ),
    await against('read, list of 20 threads', ofList, ({ tenant }) => referenceRead(tenant, '/threads')),
  ];
  return { rows, checks: rows.map((row) => ratioOf(row, 0.35)) };
}

/** A comparison of two things is none. Ids and cursors are spelt differently, and only Parley says what it cost. */
function expectSame(name: string, ours: unknown, theirs: unknown): void {
  if (isDeepStrictEqual(ours, theirs)) return;
  throw new Error(`${name}: the answers differ.\n${JSON.stringify(ours)}\n${JSON.stringify(theirs)}`);
}

async function answerTo(url: string, { path, ...request }: Request): Promise<unknown> {
  const answer = await fetch(`${url}${path}`, request);
  const spelt = new Set(['id', 'cursor', 'endCursor']);
  const { data } = JSON.parse(await answer.text(), (key, value) => (spelt.has(key) ? typeof value : value));
  return data;
}

export interface ThreadOfTenant {
  readonly tenant: Tenant;
  readonly id: string;
  /** What the fills call its participant by. */
  readonly number: number;
}

/** Some threads of each tenant. */
export async function threadsOf(parley: Parley, tenants: readonly Tenant[]): Promise<ThreadOfTenant[]> {
  const lists = tenants.map(async (tenant) => {
    const { threads } = await graphql<{
      threads: { edges: { node: { id: string; participantId: string } }[] };
    }>(parley, tenant.apiKey, 'query { threads(first: 100) { edges { node { id participantId } } } }');
    return threads.edges.map(({ node }) => ({
      tenant,
      id: node.id,
      number: Number(node.participantId.replace('participant_', '')),
    }));
  });
  return (await Promise.all(lists)).flat();
}
