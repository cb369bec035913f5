import { randomUUID } from 'node:crypto';
import { fromUUID, TypeID } from 'typeid-js';

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

const IDS_A_MILLISECOND = 0x1000;
const last = { ms: 0, count: 0 };

/**
 * A new UUIDv7 as text, as the database stores ids. Later ids of a process sort after earlier ones: of the same
 * millisecond by a counter (RFC 9562, section 6.2, method 1). The rest is the random part of a UUIDv4, which the
 * engine has in store; the libraries ask the system for each, which takes longer than all else about a message's ids.
 */
export function newId(): string {
  const now = Date.now();
  if (now > last.ms) Object.assign(last, { ms: now, count: 0 });
  else if (++last.count === IDS_A_MILLISECOND) Object.assign(last, { ms: last.ms + 1, count: 0 });
  const time = last.ms.toString(16).padStart(12, '0');
  const count = last.count.toString(16).padStart(3, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${count}${randomUUID().slice(18)}`;
}

/** The id as callers see it: `thread_01h455vb4pex5vsknk084sn02q` (TypeID specification 0.3). */
export const encodeId = (noun: Noun, uuid: string): string => fromUUID(uuid, noun);

/** The stored id of a noun, or null for anything that is not such an id; so malformed and absent look alike. */
export function decodeId(noun: Noun, text: unknown): string | null {
  if (typeof text !== 'string' || text.length > 64 || !text.startsWith(`${noun}_`)) return null;
  try {
    return TypeID.fromString(text, noun).toUUID();
  } catch {
    return null;
  }
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
