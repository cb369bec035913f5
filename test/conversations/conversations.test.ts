import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';
import { connect, subscribe } from '../support/subscriber.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const FIELDS = 'id workflowId agentProductId userId configuration running createdAt updatedAt';

async function product(client: Client, name = 'Assistant'): Promise<number> {
  const { createAgentProduct } = await client.data(
    'mutation ($input: CreateAgentProductInput!) { createAgentProduct(input: $input) { agentProduct { id } } }',
    { input: { name } },
  );
  return createAgentProduct.agentProduct.id;
}

const create = (client: Client, input: object) =>
  client.graphql(
    `mutation ($input: CreateWorkflowConversationInput!) {
      createWorkflowConversation(input: $input) { workflowConversation { ${FIELDS} } }
    }`,
    { input },
  );

async function conversation(client: Client, input: object = {}) {
  const { body } = await create(client, { agentProductId: await product(client), ...input });
  return body.data.createWorkflowConversation.workflowConversation;
}

const update = (client: Client, id: number, updates: object) =>
  client.graphql(
    `mutation ($id: Int!, $updates: UpdateWorkflowConversationInput!) {
      updateWorkflowConversation(id: $id, updates: $updates) { workflowConversation { ${FIELDS} } }
    }`,
    { id, updates },
  );

const connectTo = (client: Client, id: number, connectionData: object) =>
  client.graphql(
    `mutation ($id: Int!, $connectionData: JSONObject!) {
      connectToWorkflowConversation(id: $id, connectionData: $connectionData) { workflowConversation { ${FIELDS} } }
    }`,
    { id, connectionData },
  );

const get = async (client: Client, id: number) =>
  (await client.data(`query ($id: Int!) { workflowConversation(id: $id) { ${FIELDS} } }`, { id }))
    .workflowConversation;

const list = async (client: Client, filter: string) => {
  const { workflowConversations } = await client.data(
    `{ workflowConversations(${filter}) { edges { node { ${FIELDS} } } } }`,
  );
  return workflowConversations.edges.map(({ node }: { node: { id: number } }) => node);
};

const codes = (answer: { body: { errors?: { extensions: { code: string } }[] } }) =>
  answer.body.errors?.map(({ extensions }) => extensions.code);

describe('creating a conversation', () => {
  it('stores {} without configuration, null without userId, and names the workflow after the id', async () => {
    const client = await app.tenant();
    const created = await conversation(client);
    expect(created).toMatchObject({
      configuration: {},
      userId: null,
      workflowId: `workflow_${created.id}`,
      running: false,
    });
  });

  it('needs an agent product that exists in the tenant', async () => {
    const [client, other] = [await app.tenant(), await app.tenant()];
    const foreign = await product(other);
    expect(codes(await create(client, {}))).toEqual(['BAD_USER_INPUT']);
    for (const agentProductId of [foreign, 2 ** 31 - 1]) {
      const refused = await create(client, { agentProductId });
      expect(refused.body.errors[0].extensions).toEqual({
        code: 'BAD_USER_INPUT',
        details: [{ field: 'agentProductId', issue: 'is not the id of an agent product' }],
      });
    }
    expect(await list(client, 'first: 10')).toEqual([]);
  });

  it('refuses a taken workflowId, and draws the next id when the default one is taken', async () => {
    const client = await app.tenant();
    const first = await conversation(client);
    const taken = `workflow_${first.id + 1}`;
    const explicit = await conversation(client, { workflowId: 'mine' });
    expect(explicit.workflowId).toBe('mine');
    expect(codes(await create(client, { agentProductId: first.agentProductId, workflowId: 'mine' }))).toEqual(
      ['CONFLICT'],
    );
    await conversation(client, { workflowId: `workflow_${explicit.id + 2}` });
    const next = await conversation(client);
    expect(next.workflowId).toBe(`workflow_${next.id}`);
    expect([taken, `workflow_${explicit.id + 2}`]).not.toContain(next.workflowId);
  });

  it('refuses a configuration over 64 KB and takes one of just that, unchanged', async () => {
    const client = await app.tenant();
    const fitting = { text: 'x'.repeat(65_536 - '{"text":""}'.length) };
    expect((await conversation(client, { configuration: fitting })).configuration).toEqual(fitting);
    const { agentProductId } = await conversation(client);
    expect(
      codes(await create(client, { agentProductId, configuration: { text: `${fitting.text}x` } })),
    ).toEqual(['BAD_USER_INPUT']);
  });
});

describe('connecting', () => {
  it('merges shallowly, incoming wins, nulls are kept', async () => {
    const client = await app.tenant();
    const { id } = await conversation(client, { configuration: { running: true, a: { x: 1 } } });
    const { body } = await connectTo(client, id, { a: { y: 2 } });
    expect(body.data.connectToWorkflowConversation.workflowConversation.configuration).toEqual({
      running: true,
      a: { y: 2 },
    });
    await connectTo(client, id, { running: null });
    expect(await get(client, id)).toMatchObject({
      configuration: { running: null, a: { y: 2 } },
      running: false,
    });
  });

  it('keeps all 20 keys of 20 parallel connects', async () => {
    const client = await app.tenant();
    const { id } = await conversation(client);
    const keys = Array.from({ length: 20 }, (_, index) => `key${index}`);
    await Promise.all(keys.map((key) => connectTo(client, id, { [key]: true })));
    expect(Object.keys((await get(client, id)).configuration).sort()).toEqual(keys.sort());
  });

  it('refuses a merge that grows past 64 KB, and changes nothing', async () => {
    const client = await app.tenant();
    const { id } = await conversation(client, { configuration: { a: 'x'.repeat(60_000) } });
    expect(codes(await connectTo(client, id, { b: 'x'.repeat(10_000) }))).toEqual(['BAD_USER_INPUT']);
    expect(Object.keys((await get(client, id)).configuration)).toEqual(['a']);
  });
});

describe('updating', () => {
  it('replaces the configuration and leaves what is not named', async () => {
    const client = await app.tenant();
    const { id } = await conversation(client, { userId: 7, configuration: { running: true, step: 1 } });
    await update(client, id, { configuration: { running: false } });
    expect(await get(client, id)).toMatchObject({ configuration: { running: false }, userId: 7 });
    await update(client, id, { userId: null });
    expect(await get(client, id)).toMatchObject({ configuration: { running: false }, userId: null });
  });

  it('refuses members that cannot be set, by name, and changes nothing', async () => {
    const client = await app.tenant();
    const created = await conversation(client, { userId: 1 });
    for (const member of ['id', 'tenantId', 'createdAt', 'surprise']) {
      const refused = await update(client, created.id, { userId: 2, [member]: 1 });
      expect(refused.status).toBe(400);
      expect(JSON.stringify(refused.body.errors)).toContain(member);
    }
    expect(await get(client, created.id)).toEqual(created);
  });

  it('knows no absent conversation: NOT_FOUND for update, connect and delete, null for get', async () => {
    const [client, other] = [await app.tenant(), await app.tenant()];
    for (const id of [(await conversation(other)).id, 2 ** 31 - 1]) {
      expect(codes(await update(client, id, { userId: 1 }))).toEqual(['NOT_FOUND']);
      expect(codes(await connectTo(client, id, { a: 1 }))).toEqual(['NOT_FOUND']);
      expect(
        codes(await client.graphql(`mutation { deleteWorkflowConversation(id: ${id}) { deletedId } }`)),
      ).toEqual(['NOT_FOUND']);
      expect(await get(client, id)).toBeNull();
    }
  });
});

describe('listing', () => {
  it('counts only the boolean true as running, newest first', async () => {
    const client = await app.tenant();
    const ids: number[] = [];
    for (const configuration of [
      { running: true },
      { running: 'true' },
      { running: 1 },
      { running: null },
      {},
    ]) {
      ids.push((await conversation(client, { userId: 9, configuration })).id);
    }
    await conversation(client, { userId: 10, configuration: { running: true } });
    expect((await list(client, 'userId: 9, running: true')).map(({ id }: { id: number }) => id)).toEqual([
      ids[0],
    ]);
    expect((await list(client, 'userId: 9')).map(({ id }: { id: number }) => id)).toEqual([...ids].reverse());
    expect(await list(client, 'userId: 9, running: false')).toHaveLength(4);
  });

  it('reads the running list of 100,000 conversations by an index, a page in one statement', async () => {
    const client = await app.tenant();
    const agentProductId = await product(client);
    const database = new pg.Client(app.databaseUrl);
    await database.connect();
    await database.query(
      `INSERT INTO workflow_conversations (tenant_id, workflow_id, agent_product_id, user_id, configuration, created_at)
       SELECT $1, 'w' || n, $2, 77, jsonb_build_object('running', n % 1000 = 0), now() - n * interval '1 second'
       FROM generate_series(1, 100000) n`,
      [client.tenantId, agentProductId],
    );
    await database.query('ANALYZE workflow_conversations');
    const statements = await statementsOf(
      () => list(client, 'userId: 77, running: true, first: 20'),
      /FROM "public"."workflow_conversations"/,
    );
    expect(statements).toHaveLength(1);
    const plan = await database.query(`EXPLAIN ${statements[0]?.text}`, statements[0]?.values);
    const text = plan.rows.map((row) => row['QUERY PLAN']).join('\n');
    await database.end();
    expect(text).toMatch(/Index Scan using workflow_conversations_tenant_id_user_id_running/);
    expect(text).not.toMatch(/Seq Scan|Sort/);
  });
});

describe('deleting', () => {
  it('leaves conversations without the product, and runs and threads without the conversation', async () => {
    const client = await app.tenant();
    const { id, agentProductId, workflowId } = await conversation(client);
    const { createAgentProductRun } = await client.data(
      `mutation { createAgentProductRun(input: { workflowConversationId: ${id} }) { agentProductRun { id agentProductId } } }`,
    );
    const run = createAgentProductRun.agentProductRun;
    expect(run.agentProductId).toBe(agentProductId);
    const { body: stored } = await client.rest('POST', '/inbound', {
      workflowId,
      participantId: 'p',
      channel: 'chat',
      channelKey: 'p',
      content: { body: 'Hello' },
    });

    await client.data(`mutation { deleteAgentProduct(id: ${agentProductId}) { deletedId } }`);
    expect(await get(client, id)).toMatchObject({ agentProductId: null });
    await client.data(`mutation { deleteWorkflowConversation(id: ${id}) { deletedId } }`);
    const left = await client.data(
      `query ($thread: ID!) {
        agentProductRun(id: ${run.id}) { workflowConversationId workflowConversation { id } agentProduct { id } }
        thread(id: $thread) { messageCount workflowConversation { id } }
      }`,
      { thread: stored.threadId },
    );
    expect(left).toEqual({
      agentProductRun: { workflowConversationId: null, workflowConversation: null, agentProduct: null },
      thread: { messageCount: 1, workflowConversation: null },
    });
  });
});

describe('threads of a conversation', () => {
  it('are there at once when a message comes for its workflow', async () => {
    const client = await app.tenant();
    const { id, workflowId } = await conversation(client);
    const { body } = await client.rest('POST', '/inbound', {
      workflowId,
      participantId: 'p',
      channel: 'chat',
      channelKey: 'p',
      content: { body: 'Hello' },
    });
    const data = await client.data(
      `{ workflowConversation(id: ${id}) { threads { edges { node { id workflowConversation { id } } } } } }`,
    );
    expect(data.workflowConversation.threads.edges).toEqual([
      { node: { id: body.threadId, workflowConversation: { id } } },
    ]);
  });

  it('cost a dashboard of 50 conversations as many statements as one of 5: one per level', async () => {
    const client = await app.tenant();
    const agentProductId = await product(client);
    for (let n = 0; n < 50; n++) {
      const { body } = await create(client, { agentProductId, workflowId: `w${n}` });
      const { id } = body.data.createWorkflowConversation.workflowConversation;
      await client.data(
        `mutation { createAgentProductRun(input: { workflowConversationId: ${id} }) { agentProductRun { id } } }`,
      );
      for (const participantId of ['a', 'b']) {
        await client.rest('POST', '/inbound', {
          workflowId: `w${n}`,
          participantId,
          channel: 'chat',
          channelKey: 'p',
          content: { body: 'Hello' },
        });
      }
    }
    const dashboard = (first: number) =>
      client.data(`{ workflowConversations(first: ${first}) { edges { node {
        id agentProduct { name }
        agentProductRuns(last: 5) { edges { node { id status } } }
        threads(first: 10) { edges { node { id lastMessage { content } } } }
      } } } }`);
    const own = /conversation_thread|conversation_message|workflow_conversations|agent_product/;
    const few = await statementsOf(() => dashboard(5), own);
    const many = await statementsOf(() => dashboard(50), own);
    expect(many).toHaveLength(few.length);
    expect(many.length).toBeLessThanOrEqual(5);
    const data = await dashboard(50);
    expect(data.workflowConversations.edges).toHaveLength(50);
    for (const { node } of data.workflowConversations.edges) {
      expect(node.agentProduct.name).toBe('Assistant');
      expect(node.agentProductRuns.edges).toHaveLength(1);
      expect(node.threads.edges).toHaveLength(2);
      expect(node.threads.edges[0].node.lastMessage.content).toEqual({ body: 'Hello' });
    }
  });
});

describe('the log', () => {
  it('tells of every change, and the subscription shows them in order, also from before', async () => {
    const client = await app.tenant();
    const { eventCursor } = await client.data('{ eventCursor }');
    const created = await conversation(client);
    await conversation(client);
    await connectTo(client, created.id, { a: 1 });
    const live = await subscribe(
      connect(app.url, client.apiKey),
      `subscription ($id: Int, $after: String) {
        workflowConversationUpdated(id: $id, after: $after) { sequence workflowConversation { id configuration } }
      }`,
      { id: created.id, after: eventCursor },
    );
    await live.waitFor(2);
    await update(client, created.id, { configuration: { b: 2 } });
    await live.waitFor(3);
    const seen = live.events.map(({ data }) => data.workflowConversationUpdated);
    expect(seen.map(({ workflowConversation }) => workflowConversation.id)).toEqual(
      Array(3).fill(created.id),
    );
    expect(seen.at(-1).workflowConversation.configuration).toEqual({ b: 2 });
    expect(seen.map(({ sequence }) => sequence)).toEqual([1, 3, 4]);

    await client.data(`mutation { deleteWorkflowConversation(id: ${created.id}) { deletedId } }`);
    const database = new pg.Client(app.databaseUrl);
    await database.connect();
    const { rows } = await database.query('SELECT type FROM event WHERE tenant_id = $1 ORDER BY sequence', [
      client.tenantId,
    ]);
    await database.end();
    expect(rows.map(({ type }) => type)).toEqual([
      'conversation.created',
      'conversation.created',
      'conversation.connected',
      'conversation.updated',
      'conversation.deleted',
    ]);
  });
});

/** The statements that pg sends meanwhile and whose text matches. */
async function statementsOf(
  work: () => Promise<unknown>,
  text: RegExp,
): Promise<{ text: string; values: unknown[] }[]> {
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  try {
    await work();
    return spy.mock.calls
      .map(([query]) => query as unknown as { text?: string; values?: unknown[] })
      .filter((query) => typeof query?.text === 'string' && text.test(query.text))
      .filter((query) => !/dispatch_checkpoint|delivery/.test(query.text ?? ''))
      .map((query) => ({ text: query.text ?? '', values: query.values ?? [] }));
  } finally {
    spy.mockRestore();
  }
}
