import type { z } from 'zod';
import type { Actor, Scope } from '../services/actor.js';
import type { Context } from '../services/context.js';
import type { Answer } from './answers.js';
import type { AnswerHeader, RequestHeader } from './headers.js';

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
  /**
   * Counts an answer that goes on for long among what its key has open, until the returned function is called.
   * `onRefused` is called once when the key is no longer good.
   * @throws ParleyError `rate_limited`
   */
  readonly holdOpen: (onRefused: () => void) => () => void;
  /** Aborted when the server stops and can wait no longer for answers that go on. */
  readonly cut: AbortSignal;
}

/** One row of the table of routes: what is mounted, and what the OpenAPI document says of it. */
export interface RestRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** What the key must be allowed to do. The services see to it. */
  readonly scope: Scope;
  readonly tag: 'Messages' | 'Threads' | 'Attachments' | 'Events' | 'Webhooks';
  /** What generated clients call it. */
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  /** Of the query parameters; the services parse with the same schema. */
  readonly query?: z.ZodObject;
  /** Of the body, which is then required; the services parse with the same schema. */
  readonly body?: z.ZodType;
  /** Of the JSON of a 200, or the successful answers when they are something else. */
  readonly answer: z.ZodType | SuccessfulAnswers;
  /** Further headers that it takes, and that its successful answer has. */
  readonly headers?: {
    readonly request?: readonly RequestHeader[];
    readonly answer?: readonly AnswerHeader[];
  };
  /** Statuses of errors, beside those that every route has. */
  readonly errors?: readonly (404 | 409 | 413)[];
  /** Answers with the JSON of a 200, or with an `Answer`. */
  readonly handle: (request: RestRequest) => Promise<object | Answer>;
  /** Who sends a request that carries another proof than a key; null when it carries none. */
  readonly actorWithoutKey?: (request: UnauthenticatedRequest) => Actor | null;
}

/** By status, what the document says of answers that are not one JSON value. */
export type SuccessfulAnswers = Readonly<
  Record<number, { description: string; headers?: readonly AnswerHeader[]; content?: object }>
>;
