import { fromUUID, TypeID, typeid } from 'typeid-js';

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
export const newId = (): string => typeid().toUUID();

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
