import type { Actor } from '../services/actor.js';
import type { Context } from '../services/context.js';
import { postInbound, postOutbound } from './messages.js';
import { deleteThreadRoute, getThreadRoute, getThreads, putThread } from './threads.js';
import { deleteWebhookRoute, getWebhookRoute, getWebhooks, postWebhook } from './webhooks.js';

/** What a route sees of a request. */
export interface RestRequest {
  readonly services: Context;
  readonly actor: Actor;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
  readonly setHeader: (name: string, value: string) => void;
}

export interface RestRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Answers with the JSON of a 200; the services check the scope. */
  readonly handle: (request: RestRequest) => Promise<object>;
}

const BASE = '/api/agent/conversations';

/** The documented routes ("APIs" of the conversations document), as the design's section 5 completes them. */
export const restRoutes: readonly RestRoute[] = [
  { method: 'GET', path: `${BASE}/threads`, handle: getThreads },
  { method: 'GET', path: `${BASE}/threads/:threadId`, handle: getThreadRoute },
  { method: 'PUT', path: `${BASE}/threads/:threadId`, handle: putThread },
  { method: 'DELETE', path: `${BASE}/threads/:threadId`, handle: deleteThreadRoute },
  { method: 'POST', path: `${BASE}/inbound`, handle: postInbound },
  { method: 'POST', path: `${BASE}/outbound`, handle: postOutbound },
  { method: 'POST', path: `${BASE}/outbound/webhook`, handle: postWebhook },
  { method: 'GET', path: `${BASE}/outbound/webhook`, handle: getWebhooks },
  { method: 'GET', path: `${BASE}/outbound/webhook/:id`, handle: getWebhookRoute },
  { method: 'DELETE', path: `${BASE}/outbound/webhook/:id`, handle: deleteWebhookRoute },
];
