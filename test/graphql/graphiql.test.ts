import { afterAll, beforeAll, expect, it } from 'vitest';
import { startApp, type TestApp } from '../support/app.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const browse = (path: string, headers = {}) =>
  fetch(app.url + path, { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8', ...headers } });

it('is a page of its own, with a field for the key and the headers that it fills in', async () => {
  const page = await browse('/graphql');
  expect(page.status).toBe(200);
  const html = await page.text();
  expect(html).toContain('<input id="api-key" type="password"');
  expect(html).toContain('{\\"Authorization\\": \\"Bearer <your key>\\"}');
  expect(html).toContain('"headers":window.parleyHeaders');
  expect(html).toContain('connectionParams:');
  expect(html).not.toMatch(/<(?:script|link|img)[^>]+(?:src|href)="https?:/);
  const [hash] = /'sha256-[^']+'/.exec(page.headers.get('content-security-policy') ?? '') ?? [];
  expect(hash).toBeTruthy();
});

it('is what a browser gets that is reloaded after GraphiQL has written the query into the address', async () => {
  const address = `/graphql?query=${encodeURIComponent('{ eventCursor }')}`;
  const page = await browse(address);
  expect(page.status).toBe(200);
  expect(page.headers.get('content-type')).toMatch(/text\/html/);
  await page.body?.cancel();

  const answer = await browse(address, { authorization: `Bearer ${app.apiKey}` });
  expect((await answer.json()).data.eventCursor).toBeTruthy();
  expect((await fetch(app.url + address)).status).toBe(401);
});
