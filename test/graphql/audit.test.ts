import { serverAudits } from 'graphql-http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startApp, type TestApp } from '../support/app.js';

/** Details of the content type and of statuses that Apollo decides. */
const ACCEPTED_WARNINGS = ['572B', 'FDE2', '7B9B'];

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

it('passes the audits of the GraphQL over HTTP specification', async () => {
  const withKey: typeof fetch = (input, init) =>
    fetch(input, {
      ...init,
      headers: { ...(init?.headers as Record<string, string>), authorization: `Bearer ${app.apiKey}` },
    });
  const audits = serverAudits({ url: `${app.url}/graphql`, fetchFn: withKey });
  expect(audits.length).toBeGreaterThan(50);
  const results = await Promise.all(audits.map((audit) => audit.fn()));
  const notPassed = results.filter(({ status }) => status !== 'ok');
  const errors = notPassed.filter(({ status }) => status === 'error');
  expect(errors.map(({ id, name }) => `${id} ${name}`)).toEqual([]);
  const warnings = notPassed.map(({ id, name }) => `${id} ${name}`);
  expect(warnings.filter((warning) => !ACCEPTED_WARNINGS.includes(warning.slice(0, 4)))).toEqual([]);
});
