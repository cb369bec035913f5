import type { Parley } from './stage.js';

const ROUTES = '/api/agent/conversations';
export const INBOUND_PATH = `${ROUTES}/inbound`;
export const OUTBOUND_PATH = `${ROUTES}/outbound`;
export const GRAPHQL_PATH = '/graphql';

export interface Tenant {
  readonly id: string;
  readonly apiKey: string;
}

/** What every request of a key carries. */
export const headersOf = (apiKey: string): Record<string, string> => ({
  authorization: `Bearer ${apiKey}`,
  'content-type': 'application/json',
});

/** The `data` of a GraphQL answer. @throws when it has errors */
export async function graphql<Data>(
  { url }: Pick<Parley, 'url'>,
  apiKey: string,
  query: string,
  variables: object = {},
): Promise<Data> {
  const answer = await fetch(`${url}${GRAPHQL_PATH}`, {
    method: 'POST',
    headers: headersOf(apiKey),
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = (await answer.json()) as { data: Data; errors?: unknown };
  if (errors) throw new Error(`GraphQL: ${JSON.stringify(errors)}`);
  return data;
}

const scopes = ['conversations:read', 'conversations:write', 'webhooks:manage', 'workflows:manage'];

/** A key for each of the tenants that a fill has made. */
export async function createKeys(parley: Parley, tenants: number): Promise<Tenant[]> {
  const made: Tenant[] = [];
  for (let number = 1; number <= tenants; number++) {
    const id = tenantId(number);
    const { createApiKey } = await graphql<{ createApiKey: { secret: string } }>(
      parley,
      parley.apiKey,
      'mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }',
      { input: { tenantId: id, name: 'bench', scopes } },
    );
    made.push({ id, apiKey: createApiKey.secret });
  }
  return made;
}

/** What the fills call their tenants, from 1. */
export const tenantId = (number: number): string => `tenant_${number}`;
