import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

/** Encrypts the secrets that are stored, so that a copy of the database does not give them away. */
export interface SecretBox {
  /** Encrypts `plaintext` for one place, named by `context` (`webhook:<id>`); never the same bytes twice. */
  seal(plaintext: string, context: string): Uint8Array<ArrayBuffer>;
  /** The plaintext again. Throws an Error if key or context differ or a bit changed; it does not say which. */
  open(sealed: Uint8Array, context: string): string;
}

// The layout: version (1 byte), nonce (12), tag (16), ciphertext. The version is here for a change of key or cipher.
const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

/**
 * A box under AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce and the context as additional data: what
 * was sealed for one row cannot be opened as another's. Throws an Error if `key` is not 32 bytes.
 */
export function createSecretBox(key: Buffer): SecretBox {
  if (key.byteLength !== 32) throw new Error(`The key of a secret box is 32 bytes, not ${key.byteLength}`);

  return {
    seal(plaintext, context) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
      cipher.setAAD(additionalData(context));
      const ciphertext = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()]);
      return new Uint8Array([VERSION, ...nonce, ...cipher.getAuthTag(), ...ciphertext]);
    },

    open(sealed, context) {
      if (sealed[0] !== VERSION || sealed.byteLength < HEADER_BYTES) {
        throw new Error('A stored secret is not in a format that this version of Parley reads');
      }
      const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(additionalData(context));
      decipher.setAuthTag(sealed.subarray(1 + NONCE_BYTES, HEADER_BYTES));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(HEADER_BYTES)), decipher.final()]).toString(
          'utf8',
        );
      } catch {
        throw new Error(
          'A stored secret cannot be opened: SECRETS_KEY is not the key that it was sealed with, or it was altered',
        );
      }
    },
  };
}

const additionalData = (context: string) => Buffer.from(`${VERSION}:${context}`, 'utf8');
