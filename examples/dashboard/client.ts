import { type GraphQLFault, ParleyError, unreachable } from './errors.js';
import type { TypedDocumentString } from './generated/documents.js';

const REQUEST_TIMEOUT_MS = 30_000;

/** Where Parley is, and who asks. */
export interface Parley {
  /** Such as `http://127.0.0.1:4000`. */
  readonly url: string;
  readonly apiKey: string;
  /** For `follow` on Node: the `WebSocket` of the package `ws`. A browser has its own. */
  readonly webSocketImpl?: unknown;
}

export const endpointOf = ({ url }: Parley): string => `${url.replace(/\/+$/, '')}/graphql`;

/**
 * Runs a query or a mutation; variables and answer are typed by the document.
 * @throws ParleyError
 */
export async function request<Data, Variables>(
  parley: Parley,
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const { answer, requestId } = await post(parley, { query: String(document), variables });
  const fault = answer.errors?.[0];
  if (fault) throw new ParleyError(fault, requestId);
  return answer.data as Data;
}

async function post(parley: Parley, body: object) {
  const endpoint = endpointOf(parley);
  try {
    const response = await fetch(endpoint, {
      method: 'POST',
      headers: { authorization: `Bearer ${parley.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const answer = (await response.json()) as { data?: unknown; errors?: readonly GraphQLFault[] };
    return { answer, requestId: response.headers.get('x-request-id') };
  } catch (cause) {
    throw unreachable(`No answer from ${endpoint}`, cause);
  }
}
