import { v7 } from 'uuid';

/** The nouns whose ids are TypeIDs; the noun is the id's prefix. */
export type Noun =
  | 'thread'
  | 'message'
  | 'webhook'
  | 'delivery'
  | 'signal'
  | 'handler'
  | 'attachment'
  | 'key';

/** A new UUIDv7 as text, as the database stores ids. Later ids sort after earlier ones. */
export const newId = (): string => v7();

/** The id as callers see it: `thread_01h455vb4pex5vsknk084sn02q` (TypeID specification 0.3). */
export const encodeId = (noun: Noun, uuid: string): string => `${noun}_${toSuffix(uuid)}`;

/** The stored id of a noun, or null for anything that is not such an id; so malformed and absent look alike. */
export function decodeId(noun: Noun, text: unknown): string | null {
  if (typeof text !== 'string' || !text.startsWith(`${noun}_`)) return null;
  const suffix = text.slice(noun.length + 1);
  return SUFFIX.test(suffix) ? toUuid(suffix) : null;
}

/** 128 bits as 26 characters of five bits each; two are left over, so the first one is at most 7. */
const SUFFIX = /^[0-7][0-9a-hjkmnp-tv-z]{25}$/;
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
/** All pairs of characters by the number that they stand for. A page has dozens of ids, so they are made quickly. */
const PAIRS = Array.from({ length: 1_024 }, (_, bits) => `${ALPHABET[bits >> 5]}${ALPHABET[bits & 31]}`);
const BITS: ReadonlyMap<string, number> = new Map(PAIRS.map((pair, bits) => [pair, bits]));

function toSuffix(uuid: string): string {
  const hex = uuid.slice(0, 8) + uuid.slice(9, 13) + uuid.slice(14, 18) + uuid.slice(19, 23) + uuid.slice(24);
  let suffix = PAIRS[Number.parseInt(hex.slice(0, 2), 16)] ?? '';
  for (let digit = 2; digit < 32; digit += 5) {
    const bits = Number.parseInt(hex.slice(digit, digit + 5), 16);
    suffix += `${PAIRS[bits >> 10]}${PAIRS[bits & 1_023]}`;
  }
  return suffix;
}

function toUuid(suffix: string): string {
  const bitsAt = (index: number) => BITS.get(suffix.slice(index, index + 2)) ?? 0;
  let hex = bitsAt(0).toString(16).padStart(2, '0');
  for (let index = 2; index < 26; index += 4) {
    hex += ((bitsAt(index) << 10) | bitsAt(index + 2)).toString(16).padStart(5, '0');
  }
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The noun that an id names by its prefix, or null. */
export function nounOf(id: string): Noun | null {
  const prefix = id.slice(0, id.lastIndexOf('_'));
  return nouns.has(prefix) ? (prefix as Noun) : null;
}

const nouns = new Set<string>([
  'thread',
  'message',
  'webhook',
  'delivery',
  'signal',
  'handler',
  'attachment',
  'key',
]);
