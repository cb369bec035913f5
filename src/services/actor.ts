import { forbidden } from '../errors.js';

/** What a credential may do (design, section 8). */
export const scopes = [
  'conversations:read',
  'conversations:write',
  'webhooks:manage',
  'workflows:manage',
  'admin',
] as const;

export type Scope = (typeof scopes)[number];

/** Who is asking, as REST, GraphQL and the WebSocket know it. Everything it sees is of its tenant. */
export interface Actor {
  readonly tenantId: string;
  /** The key that was shown: a UUID. */
  readonly keyId: string;
  readonly userId: number | null;
  readonly scopes: ReadonlySet<string>;
  /** True for administrators of the bootstrap tenant: they create tenants, and keys of any tenant. */
  readonly isOperator: boolean;
}

/** @throws ParleyError `forbidden`, naming the scope. */
export function requireScope(actor: Actor, scope: Scope): void {
  if (!actor.scopes.has(scope)) throw forbidden(`The API key lacks the scope ${scope}`);
}
