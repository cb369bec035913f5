import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { migrate } from '../../src/database/migrate.js';
import { WorkflowConversationManager } from '../../src/index.js';
import { createDatabase } from '../support/postgres.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function databaseWithProduct123(): Promise<string> {
  const { connectionString, drop } = await createDatabase({ empty: true });
  onTestFinished(drop);
  await migrate(connectionString);
  const client = new pg.Client(connectionString);
  await client.connect();
  await client.query(`INSERT INTO tenant (id, name) VALUES ('default', 'default')`);
  await client.query(`INSERT INTO tenant_counter (tenant_id) VALUES ('default')`);
  await client.query(`INSERT INTO dispatch_checkpoint (tenant_id) VALUES ('default')`);
  await client.query(`INSERT INTO agent_products (id, tenant_id, name) VALUES (123, 'default', 'Assistant')`);
  await client.end();
  return connectionString;
}

async function managerOnNewDatabase(): Promise<WorkflowConversationManager> {
  const manager = new WorkflowConversationManager({ databaseUrl: await databaseWithProduct123() });
  onTestFinished(() => manager.close());
  return manager;
}

describe('the WorkflowConversationManager', () => {
  it('runs the usage example of its document as it stands, in a program without a server', async () => {
    const databaseUrl = await databaseWithProduct123();
    const document = readFileSync(
      new URL('../fixtures/workflow-conversation-manager.md', import.meta.url),
      'utf8',
    );
    const [, example = ''] = /## Example Usage\s+```typescript\n([\s\S]*?)```/.exec(document) ?? [];
    const program = example
      .replace(/^import .*$/m, "import { WorkflowConversationManager } from 'parley';")
      .replace(
        'new WorkflowConversationManager()',
        'new WorkflowConversationManager({ databaseUrl: process.env.DATABASE_URL! })',
      )
      .concat(`
await manager.close();
console.log(JSON.stringify({ conversation, fetched, updated, connected, allForUser, runningForUser }));`);
    // Inside the package, whose name then resolves to what it exports.
    const directory = await mkdtemp(`${root}/.data-usage-example-`);
    onTestFinished(() => rm(directory, { recursive: true }));
    await writeFile(`${directory}/usage.ts`, program);

    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', `${directory}/usage.ts`],
      {
        cwd: root,
        env: { ...process.env, DATABASE_URL: databaseUrl },
      },
    );

    const { conversation, fetched, updated, connected, allForUser, runningForUser } = JSON.parse(stdout);
    expect(conversation).toMatchObject({
      agentProductId: 123,
      userId: 456,
      configuration: { running: true },
    });
    expect(fetched).toEqual(conversation);
    expect(updated).toMatchObject({ id: conversation.id, configuration: { running: false } });
    expect(connected.configuration).toEqual({ running: false, lastConnected: expect.any(Number) });
    expect(allForUser).toEqual([connected]);
    expect(runningForUser).toEqual([]);
  });

  it('throws Errors that name what is wrong, and answers null only for a get of nothing', async () => {
    const manager = await managerOnNewDatabase();
    expect(await manager.getWorkflowConversation(999)).toBeNull();
    await expect(manager.updateWorkflowConversation(999, { userId: 1 })).rejects.toThrow('not found');
    await expect(manager.connectToWorkflowConversation(999, { a: 1 })).rejects.toThrow('not found');
    await expect(manager.createWorkflowConversation({ agentProductId: 7 })).rejects.toMatchObject({
      details: [{ field: 'agentProductId', issue: 'is not the id of an agent product' }],
    });
  });

  it('refuses an update that names id, tenantId, createdAt or an unknown member, and changes nothing', async () => {
    const manager = await managerOnNewDatabase();
    const created = await manager.createWorkflowConversation({ agentProductId: 123, userId: 1 });
    for (const member of ['id', 'tenantId', 'createdAt', 'created_at', 'workflowId', 'surprise']) {
      await expect(
        manager.updateWorkflowConversation(created.id, { userId: 2, [member]: 1 }),
      ).rejects.toMatchObject({
        code: 'invalid_request',
        details: [{ field: member, issue: 'cannot be set' }],
      });
    }
    expect(await manager.getWorkflowConversation(created.id)).toEqual(created);
  });

  it('keeps tenants apart', async () => {
    const databaseUrl = await databaseWithProduct123();
    const [ours, theirs] = ['default', 'other'].map(
      (tenantId) => new WorkflowConversationManager({ databaseUrl, tenantId }),
    );
    onTestFinished(async () => {
      await ours?.close();
      await theirs?.close();
    });
    const conversation = await ours!.createWorkflowConversation({ agentProductId: 123, userId: 5 });
    expect(await theirs!.getWorkflowConversation(conversation.id)).toBeNull();
    expect(await theirs!.getWorkflowConversationsForUser(5)).toEqual([]);
    await expect(theirs!.createWorkflowConversation({ agentProductId: 123 })).rejects.toThrow('invalid');
  });
});
