import type { ServerResponse } from 'node:http';
import pg from 'pg';
import { decodeId } from '../../src/ids.js';
import type { Client } from './app.js';
import { query } from './query.js';
import { eventually, type Received } from './receiver.js';

/** A delivery as GraphQL shows it. */
export interface ShownDelivery {
  readonly id: string;
  readonly event: string;
  readonly status: 'PENDING' | 'DELIVERED' | 'FAILED' | 'CANCELLED';
  readonly nextAttemptAt: string | null;
  readonly attempts: readonly {
    readonly at: string;
    readonly statusCode: number | null;
    readonly durationMs: number;
    readonly error: string | null;
    readonly responseBody: string | null;
  }[];
}

const DELIVERY = 'id event status nextAttemptAt attempts { at statusCode durationMs error responseBody }';
const WEBHOOK = 'id status disabledReason url ratePerSecond';

/** Registers a webhook for `message.created`, unless `input` says otherwise. */
export async function registerWebhook(client: Client, url: string, input: object = {}) {
  const data = await client.data(
    `mutation ($input: RegisterWebhookInput!) { registerWebhook(input: $input) { secret webhook { id } } }`,
    { input: { url, events: ['message.created'], ...input } },
  );
  const { webhook, secret } = data.registerWebhook;
  return { id: webhook.id as string, secret: secret as string };
}

/** Sends outbound messages, each of its own thread unless there is only one. */
export async function sendMessages(client: Client, count = 1): Promise<string[]> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      client.rest('POST', '/outbound', {
        workflowId: 'workflow_1',
        participantId: `participant_${index}`,
        channel: 'chat',
        channelKey: 'key',
        content: { body: `Hello ${index}` },
      }),
    ),
  );
  return answers.map(({ body }) => body.messageId as string);
}

/** Calls a mutation about a webhook, and answers with the webhook and what else was selected. */
export async function onWebhook(
  client: Client,
  mutation: string,
  input: { id: string; [name: string]: unknown },
) {
  const type =
    { rotateWebhookSecret: 'RotateWebhookSecretInput', updateWebhook: 'UpdateWebhookInput' }[mutation] ??
    'IdInput';
  const data = await client.data(
    `mutation ($input: ${type}!) { ${mutation}(input: $input) { secret webhook { ${WEBHOOK} } } }`,
    { input },
  );
  return data[mutation];
}

export async function webhookOf(client: Client, id: string) {
  return (await client.data(`query ($id: ID!) { webhook(id: $id) { ${WEBHOOK} } }`, { id })).webhook;
}

/** Up to 100 deliveries of a webhook, newest first. */
export async function deliveriesOf(client: Client, id: string, status?: string): Promise<ShownDelivery[]> {
  const { webhook } = await client.data(
    `query ($id: ID!, $status: DeliveryStatus) {
      webhook(id: $id) { deliveries(first: 100, status: $status) { edges { node { ${DELIVERY} } } } }
    }`,
    { id, status },
  );
  return webhook.deliveries.edges.map(({ node }: { node: ShownDelivery }) => node);
}

/** The deliveries of a webhook once there are `count` of them and all meet the condition. */
export async function deliveriesThat(
  client: Client,
  id: string,
  condition: (delivery: ShownDelivery) => boolean,
  count = 1,
): Promise<ShownDelivery[]> {
  let found: ShownDelivery[] = [];
  await eventually(
    async () => {
      found = await deliveriesOf(client, id);
      return found.length >= count && found.every(condition);
    },
    {
      timeoutMs: 20_000,
      describe: () => `${count} such deliveries, got ${JSON.stringify(found).slice(0, 2_000)}`,
    },
  );
  return found;
}

export const hasStatus =
  (status: ShownDelivery['status']) =>
  (delivery: ShownDelivery): boolean =>
    delivery.status === status;

/** Answers with these statuses in turn, and with the last of them from then on. */
export const answers =
  (...statuses: number[]) =>
  (_: Received, response: ServerResponse) => {
    const status = statuses.length > 1 ? statuses.shift()! : statuses[0]!;
    response.writeHead(status).end(`answer ${status}`);
  };

export async function statusOf(client: Client, messageId: string): Promise<string> {
  const { message } = await client.data('query ($id: ID!) { message(id: $id) { status } }', {
    id: messageId,
  });
  return message.status;
}

/** Locks rows until the function that it answers with is called. */
async function hold(databaseUrl: string, sql: string, value: string | null): Promise<() => Promise<void>> {
  const holder = new pg.Client(databaseUrl);
  holder.on('error', () => {});
  await holder.connect();
  await holder.query('BEGIN');
  await holder.query(sql, [value]);
  return () => holder.end();
}

/** Keeps what happens to a tenant from being dispatched. Answers with what lets it be. */
export const holdDispatch = (databaseUrl: string, tenantId: string) =>
  hold(databaseUrl, 'SELECT FROM dispatch_checkpoint WHERE tenant_id = $1 FOR UPDATE', tenantId);

/** Has everybody wait who settles something of a message. Answers with what lets them. */
export const holdMessage = (databaseUrl: string, messageId: string) =>
  hold(
    databaseUrl,
    'SELECT FROM conversation_message WHERE id = $1 FOR UPDATE',
    decodeId('message', messageId),
  );

/** Until a statement with this in it has been waiting for a lock for longer than those that give up on it soon. */
export async function waitsForLock(databaseUrl: string, text: string): Promise<void> {
  await eventually(
    async () => {
      const waiting = await query(
        databaseUrl,
        `SELECT 1 FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'
           AND query LIKE '%' || $1 || '%' AND query_start < clock_timestamp() - interval '1 second'`,
        [text],
      );
      return waiting.length > 0;
    },
    { timeoutMs: 10_000 },
  );
}
