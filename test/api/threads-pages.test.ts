import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const THREADS = 25;

async function receive(client: Client, participantId: string, workflowId = 'workflow_1'): Promise<string> {
  const { status, body } = await client.rest('POST', '/inbound', {
    workflowId,
    participantId,
    channel: 'chat',
    channelKey: 'key_1',
    content: { body: 'Hello' },
  });
  expect(status).toBe(200);
  return body.threadId;
}

/** A tenant with 25 threads; `ids` are the latest first. */
async function tenantWithThreads() {
  const client = await app.tenant();
  const ids: string[] = [];
  for (let n = 0; n < THREADS; n++) ids.unshift(await receive(client, `p${n}`));
  return { client, ids };
}

async function page(client: Client, query: string) {
  const { status, body } = await client.rest('GET', `/threads?${query}`);
  expect(status).toBe(200);
  return { ids: body.threads.map(({ id }: { id: string }) => id) as string[], hasMore: body.hasMore };
}

const pages = [1, 2, 3] as const;

describe('25 threads in pages of 10', () => {
  it('are 10, 10 and 5, latest first, without overlap', async () => {
    const { client, ids } = await tenantWithThreads();
    const found = await Promise.all(pages.map((number) => page(client, `page=${number}&pageSize=10`)));
    expect(found.map((one) => [one.ids.length, one.hasMore])).toEqual([
      [10, true],
      [10, true],
      [5, false],
    ]);
    expect(found.flatMap((one) => one.ids)).toEqual(ids);
  });

  it('are filtered by workflow and participant together, and by status as well', async () => {
    const { client } = await tenantWithThreads();
    const [wanted] = [await receive(client, 'p3', 'workflow_2'), await receive(client, 'p4', 'workflow_2')];
    const filter = 'workflowId=workflow_2&participantId=p3';
    expect(await page(client, `${filter}&pageSize=1`)).toEqual({ ids: [wanted], hasMore: false });
    expect(await page(client, `${filter}&status=active&pageSize=10`)).toEqual({
      ids: [wanted],
      hasMore: false,
    });
    expect(await page(client, `${filter}&status=closed`)).toEqual({ ids: [], hasMore: false });
    expect(await page(client, `${filter}&page=2`)).toEqual({ ids: [], hasMore: false });
    expect((await page(client, 'participantId=p3')).ids).toHaveLength(2);
  });

  it('lose none that was not touched while others are written to, changed, archived and created', async () => {
    const { client, ids } = await tenantWithThreads();
    const touched = new Set<string>();
    const seen = new Set<string>();
    let created = 0;
    for (const number of [1, 2, 3, 4, 5]) {
      const found = await page(client, `page=${number}&pageSize=10`);
      for (const id of found.ids) seen.add(id);
      if (!found.hasMore) break;
      // One that was seen, one that was not, and some new ones; each goes to the front.
      for (const index of [number, THREADS - number]) {
        const threadId = ids[index]!;
        touched.add(threadId);
        if (index === number) await client.rest('PUT', `/threads/${threadId}`, { metadata: { number } });
        else await receive(client, `p${number - 1}`);
      }
      await client.rest('DELETE', `/threads/${ids[number + 3]}`);
      touched.add(ids[number + 3]!);
      for (let n = 0; n < 2; n++) await receive(client, `new ${created++}`);
    }
    expect(touched.size).toBe(6);
    expect(ids.filter((id) => !touched.has(id) && !seen.has(id))).toEqual([]);
  });

  it('lose none by the cursors of GraphQL even while others are deleted or leave the filter', async () => {
    const { client, ids } = await tenantWithThreads();
    const gone = new Set<string>();
    const seen: string[] = [];
    let after: string | null = null;
    for (let round = 0; round < 3; round++) {
      const { threads }: { threads: { edges: { node: { id: string } }[]; pageInfo: { endCursor: string } } } =
        await client.data(
          `query ($after: String) {
            threads(filter: {status: ACTIVE}, first: 10, after: $after) { edges { node { id } } pageInfo { endCursor } }
          }`,
          { after },
        );
      seen.push(...threads.edges.map(({ node }) => node.id));
      after = threads.pageInfo.endCursor;
      // The cursor's own thread, one before it and one behind it.
      const [last, ...others] = [seen.at(-1)!, ids[round]!, ids[THREADS - 1 - round]!];
      await client.rest('DELETE', `/threads/${last}?permanent=true`);
      for (const id of others) await client.rest('DELETE', `/threads/${id}`);
      for (const id of [last, ...others]) gone.add(id);
    }
    expect(ids.filter((id) => !gone.has(id) && !seen.includes(id))).toEqual([]);
    expect(new Set(seen).size).toBe(seen.length);
  });
});
