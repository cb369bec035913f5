import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SEARCH, SETTINGS } from '../../src/services/search.js';
import { type Client, startApp, type TestApp } from '../support/app.js';

const TENANTS = 5;
const MESSAGES_EACH = 40_000;
const INDEX = 'conversation_message_tenant_id_search_idx';

let app: TestApp;
let database: pg.Client;
let clients: Client[];

/** 200,000 messages of 40 words out of 5,000. Every one says `everywhere`; in each tenant 8 say `zanzibar`. */
beforeAll(async () => {
  app = await startApp();
  database = new pg.Client(app.databaseUrl);
  await database.connect();
  clients = await Promise.all(Array.from({ length: TENANTS }, () => app.tenant()));
  for (const { tenantId } of clients) {
    await database.query(
      `WITH thread AS (
         INSERT INTO conversation_thread (tenant_id, id, workflow_id, participant_id, created_at, updated_at, last_position)
         VALUES ($1, uuid_v7(), 'w', 'p', now(), now(), ${MESSAGES_EACH})
         RETURNING tenant_id, id
       )
       INSERT INTO conversation_message (tenant_id, id, thread_id, position, direction, channel, channel_key, content, content_bytes, search, created_at)
       SELECT tenant_id, uuid_v7(), id, n, 'inbound', 'chat', 'k', content, octet_length(content::text), to_tsvector('simple', body), now()
       FROM thread, generate_series(1, ${MESSAGES_EACH}) AS n
       CROSS JOIN LATERAL (
         SELECT 'everywhere ' || CASE WHEN n % 5000 = 0 THEN 'zanzibar ' ELSE '' END
                || string_agg('word' || floor(random() * 5000 + (n + w) * 0), ' ') AS body
         FROM generate_series(1, 40) AS w
       ) AS said
       CROSS JOIN LATERAL (SELECT jsonb_build_object('body', body)) AS c (content)`,
      [tenantId],
    );
  }
  await database.query('VACUUM ANALYZE conversation_message');
}, 600_000);
afterAll(async () => {
  await database.end();
  await app.close();
});

const search = async (client: Client, query: string, more = '') =>
  (
    await client.data(
      `query ($query: String!) { searchMessages(query: $query, first: 100${more}) {
        edges { rank node { id content thread { tenantId } } } pageInfo { hasNextPage }
      } }`,
      { query },
    )
  ).searchMessages;

const scansOfIndex = async (): Promise<number> => {
  const { rows } = await database.query('SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = $1', [
    INDEX,
  ]);
  return Number(rows[0].idx_scan);
};

describe('searching 200,000 messages', () => {
  it('finds a word by the index, and only the own tenant’s messages', async () => {
    const before = await scansOfIndex();
    for (const client of clients) {
      const { edges } = await search(client, 'zanzibar');
      expect(edges).toHaveLength(8);
      for (const { node } of edges) {
        expect(node.content.body).toContain('zanzibar');
        expect(node.thread.tenantId).toBe(client.tenantId);
      }
    }
    // A backend tells its counts when it is idle for a while.
    await expect.poll(scansOfIndex, { timeout: 30_000 }).toBeGreaterThan(before);
  });

  it.each(['zanzibar', 'word17 word18', '"word17 word18"', 'zanzibar -word17', 'word4999'])(
    'reads the index for %s and no whole table',
    async (query) => {
      await database.query('BEGIN');
      try {
        await database.query(SETTINGS);
        const { rows } = await database.query(`EXPLAIN (ANALYZE, FORMAT TEXT) ${SEARCH}`, [
          clients[0]!.tenantId,
          query,
          1_000,
          null,
          null,
          101,
        ]);
        const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
        expect(plan).toContain(`Bitmap Index Scan on ${INDEX}`);
        expect(plan).not.toContain('Seq Scan');
      } finally {
        await database.query('ROLLBACK');
      }
    },
  );

  it.each([
    'zanzibar',
    'everywhere',
    '-zanzibar',
    'everywhere word1',
    'word1 or word2 or word3',
    '-everywhere',
  ])('answers within two seconds, whatever it is: %s', async (query) => {
    const startedAt = performance.now();
    const { edges } = await search(clients[0]!, query);
    const elapsedMs = performance.now() - startedAt;
    console.log(`${query}: ${edges.length} matches in ${Math.round(elapsedMs)} ms`);
    expect(elapsedMs).toBeLessThan(2_000);
  });
});
