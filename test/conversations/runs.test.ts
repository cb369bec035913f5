import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, startApp, type TestApp } from '../support/app.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const STATUSES = [
  'READY',
  'RUNNING',
  'WAITING_ON_USER',
  'STOPPED',
  'COMPLETED',
  'FAILED',
  'CANCELLED',
] as const;
type Status = (typeof STATUSES)[number];

/** Section 9 of the design. */
const allowed: Record<Status, readonly Status[]> = {
  READY: ['RUNNING', 'CANCELLED'],
  RUNNING: ['WAITING_ON_USER', 'STOPPED', 'COMPLETED', 'FAILED', 'CANCELLED'],
  WAITING_ON_USER: ['RUNNING', 'STOPPED', 'FAILED', 'CANCELLED'],
  STOPPED: ['RUNNING', 'CANCELLED'],
  COMPLETED: [],
  FAILED: [],
  CANCELLED: [],
};

/** How a new run gets into a status. */
const pathTo: Record<Status, readonly Status[]> = {
  READY: [],
  RUNNING: ['RUNNING'],
  WAITING_ON_USER: ['RUNNING', 'WAITING_ON_USER'],
  STOPPED: ['RUNNING', 'STOPPED'],
  COMPLETED: ['RUNNING', 'COMPLETED'],
  FAILED: ['RUNNING', 'FAILED'],
  CANCELLED: ['CANCELLED'],
};

const RUN = 'id status startTime endTime durationMs outputData errorMessage inputData';

async function newRun(client: Client): Promise<number> {
  const { createAgentProduct } = await client.data(
    'mutation { createAgentProduct(input: { name: "Assistant" }) { agentProduct { id } } }',
  );
  const { createWorkflowConversation } = await client.data(
    'mutation ($id: Int!) { createWorkflowConversation(input: { agentProductId: $id }) { workflowConversation { id } } }',
    { id: createAgentProduct.agentProduct.id },
  );
  const { createAgentProductRun } = await client.data(
    `mutation ($id: Int!) {
      createAgentProductRun(input: { workflowConversationId: $id, inputData: { a: 1 } }) { agentProductRun { ${RUN} } }
    }`,
    { id: createWorkflowConversation.workflowConversation.id },
  );
  expect(createAgentProductRun.agentProductRun).toMatchObject({
    status: 'READY',
    inputData: { a: 1 },
    startTime: null,
  });
  return createAgentProductRun.agentProductRun.id;
}

const move = (client: Client, id: number, expectedStatus: Status, status: Status, more = {}) =>
  client.graphql(
    `mutation ($input: UpdateAgentProductRunInput!) {
      updateAgentProductRun(input: $input) { agentProductRun { ${RUN} } }
    }`,
    { input: { id, expectedStatus, status, ...more } },
  );

async function runIn(client: Client, status: Status): Promise<number> {
  const id = await newRun(client);
  let current: Status = 'READY';
  for (const next of pathTo[status]) {
    expect((await move(client, id, current, next)).body.errors).toBeUndefined();
    current = next;
  }
  return id;
}

describe('a run', () => {
  for (const from of STATUSES) {
    it(`goes from ${from} only where it may: ${allowed[from].join(', ') || 'nowhere'}`, async () => {
      const client = await app.tenant();
      for (const to of STATUSES) {
        const id = await runIn(client, from);
        const { body } = await move(client, id, from, to);
        if (allowed[from].includes(to)) {
          expect(body.data.updateAgentProductRun.agentProductRun.status).toBe(to);
        } else {
          expect(body.errors[0].extensions.code).toBe('CONFLICT');
          expect(body.errors[0].message).toContain(`it is ${from}`);
        }
      }
    });
  }

  it('refuses a stale move and says what the status is now', async () => {
    const client = await app.tenant();
    const id = await runIn(client, 'COMPLETED');
    const { body } = await move(client, id, 'RUNNING', 'FAILED');
    expect(body.errors[0].extensions).toEqual({
      code: 'CONFLICT',
      details: [{ field: 'expectedStatus', issue: 'the run is COMPLETED' }],
    });
  });

  it('lets exactly one of 20 racing moves win', async () => {
    const client = await app.tenant();
    const id = await runIn(client, 'RUNNING');
    const targets = Array.from(
      { length: 20 },
      (_, index) => allowed.RUNNING[index % allowed.RUNNING.length]!,
    );
    const answers = await Promise.all(targets.map((target) => move(client, id, 'RUNNING', target)));
    expect(answers.filter(({ body }) => !body.errors)).toHaveLength(1);
    expect(
      new Set(answers.flatMap(({ body }) => body.errors ?? []).map((error) => error.extensions.code)),
    ).toEqual(new Set(['CONFLICT']));
  });

  it('keeps start, end and duration, and forgets the end when a stopped one goes on', async () => {
    const client = await app.tenant();
    const id = await newRun(client);
    const moveTo = async (from: Status, to: Status, more = {}) =>
      (await move(client, id, from, to, more)).body.data.updateAgentProductRun.agentProductRun;
    const running = await moveTo('READY', 'RUNNING');
    expect(running).toMatchObject({ startTime: expect.any(String), endTime: null, durationMs: null });
    const stopped = await moveTo('RUNNING', 'STOPPED');
    expect(stopped).toMatchObject({ startTime: running.startTime, endTime: expect.any(String) });
    expect(stopped.durationMs).toBeGreaterThanOrEqual(0);
    expect(await moveTo('STOPPED', 'RUNNING')).toMatchObject({
      startTime: running.startTime,
      endTime: null,
      durationMs: null,
    });
    const failed = await moveTo('RUNNING', 'FAILED', { errorMessage: 'No answer', outputData: { tries: 3 } });
    expect(failed).toMatchObject({ errorMessage: 'No answer', outputData: { tries: 3 } });
    const elapsedMs = Date.parse(failed.endTime) - Date.parse(failed.startTime);
    expect(Math.abs(failed.durationMs - elapsedMs)).toBeLessThanOrEqual(1);
  });

  it('is not another tenant’s, and is not made for a conversation that is', async () => {
    const [client, other] = [await app.tenant(), await app.tenant()];
    const id = await newRun(other);
    expect((await client.data(`{ agentProductRun(id: ${id}) { id } }`)).agentProductRun).toBeNull();
    expect((await move(client, id, 'READY', 'RUNNING')).body.errors[0].extensions.code).toBe('NOT_FOUND');
    const { agentProductRun } = await other.data(`{ agentProductRun(id: ${id}) { workflowConversationId } }`);
    const refused = await client.graphql(
      `mutation ($id: Int!) { createAgentProductRun(input: { workflowConversationId: $id }) { agentProductRun { id } } }`,
      { id: agentProductRun.workflowConversationId },
    );
    expect(refused.body.errors[0].extensions).toMatchObject({
      code: 'BAD_USER_INPUT',
      details: [{ field: 'workflowConversationId' }],
    });
  });
});
