import { isDeepStrictEqual } from 'node:util';
import { decodeId } from '../../src/ids.js';
import { createKeys, graphql, type Tenant } from '../support/api.js';
import { type Result, type Row, ratioOf } from '../support/figures.js';
import { fill } from '../support/fill.js';
import { drive, type Request } from '../support/load.js';
import type { Options } from '../support/options.js';
import { graphqlRequest, pick, referenceRead } from '../support/requests.js';
import { compare } from '../support/rounds.js';
import type { Parley, Stage } from '../support/stage.js';

const CONNECTIONS = 32;
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

/** A page of one thread, and a list of threads, by GraphQL against SQL by hand. */
export async function read(stage: Stage, options: Options): Promise<Result> {
  const database = await stage.database('read');
  await fill(database, FILLING);
  const referenceDatabase = await stage.copy(database, 'read_reference');
  const parley = await stage.parley(database);
  const tenants = await createKeys(parley, FILLING.tenants);
  const threads = await threadsOf(parley, tenants);
  const reference = await stage.reference('server', { DATABASE_URL: referenceDatabase });

  const against = async (
    name: string,
    oursOf: (thread: ThreadOfTenant) => Request,
    theirsOf: typeof oursOf,
  ) => {
    const thread = pick(threads);
    await expectSame(
      name,
      await answerTo(parley.url, oursOf(thread)),
      await answerTo(reference.url, theirsOf(thread)),
    );
    const load = (url: string, requestOf: typeof oursOf) => (seconds: number) =>
      drive({ url, connections: CONNECTIONS, seconds, next: () => requestOf(pick(threads)) });
    return compare(options, {
      case: name,
      connections: CONNECTIONS,
      parley: load(parley.url, oursOf),
      against: { name: 'reference', run: load(reference.url, theirsOf) },
    });
  };
  const rows: Row[] = [
    await against(
      'read, thread with 20 messages',
      ({ tenant, id }) => graphqlRequest(tenant, THREAD_PAGE, { id }),
      ({ tenant, id }) => referenceRead(tenant, `/threads/${decodeId('thread', id)}`),
    ),
    await against(
      'read, list of 20 threads',
      ({ tenant }) => graphqlRequest(tenant, THREAD_LIST, {}),
      ({ tenant }) => referenceRead(tenant, '/threads'),
    ),
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
}

/** Some threads of each tenant. */
export async function threadsOf(parley: Parley, tenants: readonly Tenant[]): Promise<ThreadOfTenant[]> {
  const lists = tenants.map(async (tenant) => {
    const { threads } = await graphql<{ threads: { edges: { node: { id: string } }[] } }>(
      parley,
      tenant.apiKey,
      'query { threads(first: 100) { edges { node { id } } } }',
    );
    return threads.edges.map(({ node }) => ({ tenant, id: node.id }));
  });
  return (await Promise.all(lists)).flat();
}
