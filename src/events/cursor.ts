import { ParleyError } from '../errors.js';

/**
 * A place in a tenant's log, opaque to callers: everything up to and including `sequence` lies before it. It
 * names its tenant, so another tenant's cursor is refused instead of misread.
 */
export const encodeEventCursor = (tenantId: string, sequence: bigint): string =>
  Buffer.from(`${tenantId}:${sequence}`).toString('base64url');

/** The sequence that a cursor of this tenant stands for, or null for anything else; other spellings of it too. */
export function decodeEventCursor(tenantId: string, cursor: string): bigint | null {
  if (cursor.length > 128) return null;
  const match = /^([a-z0-9_-]{1,63}):(0|[1-9]\d{0,17})$/.exec(Buffer.from(cursor, 'base64url').toString());
  if (match?.[1] !== tenantId || !match[2]) return null;
  const sequence = BigInt(match[2]);
  return encodeEventCursor(tenantId, sequence) === cursor ? sequence : null;
}

/** What is answered to a cursor behind which events were trimmed away; it names the oldest one that still works. */
export const cursorExpired = (tenantId: string, logStart: bigint, field = 'after'): ParleyError =>
  new ParleyError('cursor_expired', 'The log begins after this cursor', [
    {
      field,
      issue: `is older than the log; the oldest cursor that still works is ${encodeEventCursor(tenantId, logStart)}`,
    },
  ]);
