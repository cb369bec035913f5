import { randomInt } from 'node:crypto';
import { GRAPHQL_PATH, headersOf, INBOUND_PATH, OUTBOUND_PATH, type Tenant } from './api.js';
import { WORDS } from './fill.js';
import type { Request } from './load.js';

export function pick<T>(items: readonly T[]): T {
  const item = items[randomInt(items.length)];
  if (item === undefined) throw new Error('There is nothing to pick from');
  return item;
}

let messages = 0;

/** A message to a tenant's thread of that number; the fills name threads the same way. */
const inbound = (thread: number, text = `Message ${++messages}: ${WORDS}`) => ({
  workflowId: `workflow_${thread % 10}`,
  participantId: `participant_${thread}`,
  channel: 'chat',
  channelKey: `participant_${thread}`,
  content: { body: text },
});

export const restInbound = (tenant: Tenant, thread: number, text?: string): Request => ({
  method: 'POST',
  path: INBOUND_PATH,
  headers: headersOf(tenant.apiKey),
  body: JSON.stringify(inbound(thread, text)),
});

/** A message the other way, to the same threads. */
export const restOutbound = (tenant: Tenant, thread: number, text?: string): Request => ({
  ...restInbound(tenant, thread, text),
  path: OUTBOUND_PATH,
});

const RECEIVE = `mutation ($input: ReceiveInboundMessageInput!) {
  receiveInboundMessage(input: $input) { message { threadId id position createdAt } }
}`;

export const graphqlRequest = ({ apiKey }: Tenant, query: string, variables: object): Request => ({
  method: 'POST',
  path: GRAPHQL_PATH,
  headers: headersOf(apiKey),
  body: JSON.stringify({ query, variables }),
});

export const graphqlInbound = (tenant: Tenant, thread: number): Request =>
  graphqlRequest(tenant, RECEIVE, { input: inbound(thread) });

/** The reference takes the tenant from a header, where Parley takes it from the key. */
export const referenceInbound = ({ id }: Tenant, thread: number): Request => ({
  method: 'POST',
  path: '/inbound',
  headers: { 'x-tenant': id, 'content-type': 'application/json' },
  body: JSON.stringify(inbound(thread)),
});

export const referenceRead = ({ id }: Tenant, path: string): Request => ({
  method: 'GET',
  path,
  headers: { 'x-tenant': id },
});
