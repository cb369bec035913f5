import type { Actor } from '../services/actor.js';
import type { Context } from '../services/context.js';
import type { Answer } from './answers.js';
import { actorOfLink, getAttachmentRoute } from './attachments.js';
import { getEvents } from './events.js';
import {
  getMessageRoute,
  listThreadMessages,
  postInbound,
  postOutbound,
  putMessageStatus,
} from './messages.js';
import { deleteThreadRoute, getThreadRoute, getThreads, putThread } from './threads.js';
import { deleteWebhookRoute, getWebhookRoute, getWebhooks, postWebhook } from './webhooks.js';

/** A request before it is known who sent it. */
export interface UnauthenticatedRequest {
  readonly services: Context;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** What a route sees of a request. */
export interface RestRequest extends UnauthenticatedRequest {
  readonly actor: Actor;
  readonly body: unknown;
  readonly setHeader: (name: string, value: string) => void;
  /** Looks at the credential again, for answers that go on for long. It throws when it is no longer good. */
  readonly reauthenticate: () => Promise<unknown>;
  /** Aborted when the server is to stop: answers without an end come to theirs. */
  readonly stopping: AbortSignal;
}

export interface RestRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Answers with the JSON of a 200, or with an `Answer`; the services check the scope. */
  readonly handle: (request: RestRequest) => Promise<object | Answer>;
  /** Who sends a request that carries another proof than a key; null when it carries none. */
  readonly actorWithoutKey?: (request: UnauthenticatedRequest) => Actor | null;
}

const BASE = '/api/agent/conversations';

/** The documented routes ("APIs" of the conversations document), as the design's section 5 completes them. */
export const restRoutes: readonly RestRoute[] = [
  { method: 'GET', path: `${BASE}/threads`, handle: getThreads },
  { method: 'GET', path: `${BASE}/threads/:threadId`, handle: getThreadRoute },
  { method: 'PUT', path: `${BASE}/threads/:threadId`, handle: putThread },
  { method: 'DELETE', path: `${BASE}/threads/:threadId`, handle: deleteThreadRoute },
  { method: 'GET', path: `${BASE}/threads/:threadId/messages`, handle: listThreadMessages },
  { method: 'GET', path: `${BASE}/messages/:messageId`, handle: getMessageRoute },
  { method: 'PUT', path: `${BASE}/messages/:messageId/status`, handle: putMessageStatus },
  {
    method: 'GET',
    path: `${BASE}/attachments/:attachmentId`,
    handle: getAttachmentRoute,
    actorWithoutKey: actorOfLink,
  },
  { method: 'GET', path: `${BASE}/events`, handle: getEvents },
  { method: 'POST', path: `${BASE}/inbound`, handle: postInbound },
  { method: 'POST', path: `${BASE}/outbound`, handle: postOutbound },
  { method: 'POST', path: `${BASE}/outbound/webhook`, handle: postWebhook },
  { method: 'GET', path: `${BASE}/outbound/webhook`, handle: getWebhooks },
  { method: 'GET', path: `${BASE}/outbound/webhook/:id`, handle: getWebhookRoute },
  { method: 'DELETE', path: `${BASE}/outbound/webhook/:id`, handle: deleteWebhookRoute },
];
