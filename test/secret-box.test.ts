import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createSecretBox } from '../src/secret-box.js';

const key = randomBytes(32);
const box = createSecretBox(key);

describe('the secret box', () => {
  it.each(['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', '', 'schlüssel 🔑', 'x'.repeat(100_000)])(
    'opens what it sealed (case %#)',
    (plaintext) => {
      expect(box.open(box.seal(plaintext, 'webhook:1'), 'webhook:1')).toBe(plaintext);
    },
  );

  it('opens what another process with the same key sealed', () => {
    expect(createSecretBox(Buffer.from(key)).open(box.seal('secret', 'webhook:1'), 'webhook:1')).toBe(
      'secret',
    );
  });

  it('never seals to the same bytes, nor shows the plaintext', () => {
    const seals = Array.from({ length: 50 }, () => Buffer.from(box.seal('plain secret', 'webhook:1')));
    expect(new Set(seals.map((sealed) => sealed.toString('hex'))).size).toBe(50);
    expect(seals.some((sealed) => sealed.includes('plain'))).toBe(false);
  });

  it('does not open under another context, so rows cannot be exchanged', () => {
    expect(() => box.open(box.seal('secret', 'webhook:1'), 'webhook:2')).toThrow('cannot be opened');
  });

  it('says what to check when the key is another one, and neither key nor plaintext', () => {
    const sealed = box.seal('plain secret', 'webhook:1');
    const otherKey = randomBytes(32);
    expect(() => createSecretBox(otherKey).open(sealed, 'webhook:1')).toThrow(
      /^A stored secret cannot be opened: SECRETS_KEY is not the key that it was sealed with, or it was altered$/,
    );
  });

  it('notices a change of any single byte', () => {
    const sealed = box.seal('secret', 'webhook:1');
    for (let index = 0; index < sealed.length; index += 1) {
      const altered = Uint8Array.from(sealed);
      altered[index]! ^= 1;
      expect(() => box.open(altered, 'webhook:1'), `byte ${index}`).toThrow('A stored secret');
    }
  });

  it('notices a missing end at every length', () => {
    const sealed = box.seal('secret', 'webhook:1');
    for (let length = 0; length < sealed.length; length += 1) {
      expect(() => box.open(sealed.subarray(0, length), 'webhook:1'), `length ${length}`).toThrow(
        'A stored secret',
      );
    }
  });

  it.each([0, 16, 31, 33, 64])('refuses a key of %i bytes', (bytes) => {
    expect(() => createSecretBox(randomBytes(bytes))).toThrow('32 bytes');
  });
});
