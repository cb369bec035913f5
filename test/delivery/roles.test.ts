import { describe, expect, it, onTestFinished } from 'vitest';
import { type App, createApp } from '../../src/app.js';
import { type Config, parseConfig } from '../../src/config.js';
import { createLog } from '../../src/log.js';
import { createClient, startAppForTest, type TestApp } from '../support/app.js';
import { startReceiver } from '../support/receiver.js';
import { receive, registerHandler, signalBecomes, signalOf } from '../support/signals.js';

/** One more process's worth of Parley on the same database. */
async function startBeside(app: TestApp, config: Partial<Config>): Promise<App> {
  const beside = await createApp({ ...app.services.config, ...config }, createLog('silent'));
  onTestFinished(() => beside.close());
  return beside;
}

describe('the roles', () => {
  it('api and worker share the work, several of each on one database', async () => {
    const api = await startAppForTest({ role: 'api' });
    const secondApi = await startBeside(api, { role: 'api' });
    const receiver = await startReceiver();
    const client = await api.tenant();
    const besides = createClient(secondApi.url, client.apiKey, client.tenantId);
    await registerHandler(client, { kind: 'HTTP', url: receiver.url });
    const waiting = await receive(client, 'before there is a worker');
    expect((await signalOf(besides, waiting.messageId)).id ?? null).toBeNull();

    await Promise.all([startBeside(api, { role: 'worker' }), startBeside(api, { role: 'worker' })]);
    const sent = [waiting];
    for (let count = 1; count <= 40; count++) {
      sent.push(await receive(count % 2 ? client : besides, `${count}`, `participant_${count % 4}`));
    }
    for (const { messageId } of sent) await signalBecomes(client, messageId, 'DELIVERED');
    expect(receiver.received).toHaveLength(41);
  });

  it('api has workers send at once what waited for a handler', async () => {
    const api = await startAppForTest({ role: 'api' });
    await startBeside(api, { role: 'worker' });
    const client = await api.tenant();
    const receiver = await startReceiver();
    const messages = await Promise.all(
      [1, 2, 3].map((count) => receive(client, 'waits', `participant_${count}`)),
    );
    for (const { messageId } of messages) {
      await signalBecomes(client, messageId, 'PENDING');
    }
    await registerHandler(client, { kind: 'HTTP', url: receiver.url });
    for (const { messageId } of messages) await signalBecomes(client, messageId, 'DELIVERED');
    expect(receiver.received).toHaveLength(3);
  });

  it('worker answers its health and its metrics, and nothing else', async () => {
    const worker = await startAppForTest({ role: 'worker' });
    const get = (path: string) =>
      fetch(worker.url + path, { headers: { authorization: `Bearer ${worker.apiKey}` } });
    expect((await get('/healthz')).status).toBe(200);
    expect((await get('/readyz')).status).toBe(200);
    expect(await (await get('/metrics')).text()).toContain('parley_');
    for (const path of ['/graphql', '/api/agent/conversations/threads', '/docs']) {
      const answer = await get(path);
      expect([path, answer.status, await answer.json()]).toEqual([
        path,
        404,
        { error: { code: 'not_found', message: 'There is nothing at this path' } },
      ]);
    }
  });

  it.each(['api', 'worker'] as const)('%s makes up no key', async (role) => {
    const app = await startAppForTest({ role });
    const keyless = await startBeside(app, { role, bootstrapApiKey: null, dataDir: '/nowhere' });
    expect(keyless.apiKey).toBeNull();
  });

  it.each(['api', 'worker'])('%s needs a DATABASE_URL', (role) => {
    expect(() => parseConfig({ ROLE: role })).toThrow(`DATABASE_URL: is required with ROLE=${role}`);
    expect(() => parseConfig({ ROLE: 'both' })).toThrow('ROLE: must be one of all, api, worker');
  });
});
