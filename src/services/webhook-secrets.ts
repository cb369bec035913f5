import { z } from 'zod';
import type { SecretBox } from '../secret-box.js';

/** A secret that was rotated away, and signs beside the new one until it expires. */
export interface PreviousSecret {
  /** In base64. */
  readonly sealed: string;
  readonly expiresAt: string;
}

/** How long receivers have to take over a new secret. */
const OVERLAP_MS = 24 * 60 * 60 * 1_000;
/** A rotation beyond this many in a day ends the oldest overlap, so that the signature header stays short. */
const MAX_PREVIOUS = 4;

const previousSecrets = z.array(z.object({ sealed: z.string(), expiresAt: z.string() }));

/** What a webhook's stored secrets are bound to, so that they open for no other row. */
export const webhookSecretContext = (id: string) => `webhook:${id}`;

const isInOverlap = ({ expiresAt }: PreviousSecret) => Date.parse(expiresAt) > Date.now();

/** The secrets that sign now, the present one first. */
export function openSigningSecrets(
  secrets: SecretBox,
  context: string,
  target: { readonly sealedSecret: string; readonly previousSecrets: readonly PreviousSecret[] },
): [string, ...string[]] {
  const open = (sealed: string) => secrets.open(Buffer.from(sealed, 'base64'), context);
  return [
    open(target.sealedSecret),
    ...target.previousSecrets.filter(isInOverlap).map(({ sealed }) => open(sealed)),
  ];
}

/** The list of previous secrets, as it is to be stored, once `sealed` is replaced. */
export function withPreviousSecret(stored: unknown, sealed: Uint8Array): PreviousSecret[] {
  const replaced = {
    sealed: Buffer.from(sealed).toString('base64'),
    expiresAt: new Date(Date.now() + OVERLAP_MS).toISOString(),
  };
  return [replaced, ...previousSecrets.parse(stored).filter(isInOverlap)].slice(0, MAX_PREVIOUS);
}
