import { fastify } from 'fastify';
import pg from 'pg';
import { LIST_OF_THREADS, type ListRow, PAGE_OF_THREAD, type PageRow, toList, toPage } from './read-pages.js';
import { STORE_MESSAGE } from './store-message.js';

/** Fastify and pg, by hand: no authentication, no validation, one prepared statement for each request. */
const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.POOL_SIZE ?? 16),
});
const server = fastify();

interface Inbound {
  workflowId: string;
  participantId: string;
  channel: string;
  channelKey: string;
  content: { body: string };
}

server.post<{ Body: Inbound; Headers: { 'x-tenant': string } }>('/inbound', async ({ headers, body }) => {
  const { rows } = await pool.query({
    name: 'store',
    text: STORE_MESSAGE,
    values: [
      headers['x-tenant'],
      body.workflowId,
      body.participantId,
      body.channel,
      body.channelKey,
      JSON.stringify(body.content),
      body.content.body,
    ],
  });
  return rows[0];
});

server.get<{ Params: { id: string }; Headers: { 'x-tenant': string } }>(
  '/threads/:id',
  async ({ headers, params }) => {
    const { rows } = await pool.query<PageRow>({
      name: 'page',
      text: PAGE_OF_THREAD,
      values: [headers['x-tenant'], params.id],
    });
    return toPage(rows);
  },
);

server.get<{ Headers: { 'x-tenant': string } }>('/threads', async ({ headers }) => {
  const { rows } = await pool.query<ListRow>({
    name: 'list',
    text: LIST_OF_THREADS,
    values: [headers['x-tenant']],
  });
  return toList(rows);
});

process.on('SIGTERM', () => process.exit(0));
console.log(`listening on ${await server.listen({ host: '127.0.0.1', port: 0 })}`);
