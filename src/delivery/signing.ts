import { createHmac, randomBytes } from 'node:crypto';

const PREFIX = 'whsec_';

/** A new signing secret: `whsec_` and 32 random bytes in base64. */
export function generateSecret(): string {
  return PREFIX + randomBytes(32).toString('base64');
}

/** The bytes that sign: what follows `whsec_` decoded from base64, or the UTF-8 bytes of any other secret. */
export function signingKey(secret: string): Uint8Array {
  return secret.startsWith(PREFIX)
    ? Buffer.from(secret.slice(PREFIX.length), 'base64')
    : Buffer.from(secret, 'utf8');
}

/** What is wrong with a secret that somebody wants to sign with, or null if nothing is. */
export function secretIssue(secret: string): string | null {
  const characters = [...secret].length;
  if (characters < 16 || characters > 255) return 'must have 16 to 255 characters';
  if (!secret.isWellFormed()) return 'must be well-formed Unicode';
  // Receivers' libraries are strict about the alphabet and the padding, so only what reads the same everywhere
  // is taken: otherwise they would derive another key than ours, or none.
  if (secret.startsWith(PREFIX)) {
    const encoded = secret.slice(PREFIX.length);
    if (Buffer.from(encoded, 'base64').toString('base64') !== encoded) {
      return 'must hold padded standard base64 after whsec_';
    }
  }
  return null;
}

/** The headers of the Standard Webhooks specification (a type, so that it passes as `Record<string, string>`). */
export type WebhookHeaders = {
  'webhook-id': string;
  'webhook-timestamp': string;
  'webhook-signature': string;
};

/**
 * Signs one attempt by the Standard Webhooks specification: `v1,` and the base64 HMAC-SHA256 of
 * `id.timestamp.body`, one signature per secret (several during a rotation), separated by spaces.
 * `id` stays the same over retries, `timestampSeconds` is the attempt's. `body` must be what is sent, byte by byte.
 */
export function webhookHeaders(message: {
  id: string;
  timestampSeconds: number;
  body: Uint8Array | string;
  secrets: readonly string[];
}): WebhookHeaders {
  const timestamp = String(Math.floor(message.timestampSeconds));
  const signatures = message.secrets.map((secret) => {
    const hmac = createHmac('sha256', signingKey(secret));
    return `v1,${hmac.update(`${message.id}.${timestamp}.`).update(message.body).digest('base64')}`;
  });
  return {
    'webhook-id': message.id,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatures.join(' '),
  };
}

/**
 * The body with the `signature` member that `spec/conversations-api.md` documents: compact JSON, its hex
 * HMAC-SHA256 under `signingKey(secret)` (the same key as the headers') appended as the last member. A `signature`
 * that the body already has is left out first.
 *
 * A receiver checks it without parsing: the last 80 bytes are `,"signature":"` + 64 hex digits + `"}`; the text
 * that was signed is everything before them and a closing `}`. In Python:
 *
 *     signed, signature = body[:-80] + b"}", body[-66:-2].decode()
 *     hmac.compare_digest(hmac.new(key, signed, hashlib.sha256).hexdigest(), signature)
 */
export function bodyWithSignatureMember(body: object, secret: string): Buffer {
  const { signature: _replaced, ...unsigned } = body as { signature?: unknown };
  const text = JSON.stringify(unsigned);
  const signature = createHmac('sha256', signingKey(secret)).update(text).digest('hex');
  const separator = text === '{}' ? '' : ',';
  return Buffer.from(`${text.slice(0, -1)}${separator}"signature":"${signature}"}`);
}
