import fc from 'fast-check';
import { TypeID } from 'typeid-js';
import { expect, it } from 'vitest';
import { decodeId, encodeId, newId } from '../src/ids.js';

it('writes and reads ids as the TypeID specification has them', () => {
  fc.assert(
    fc.property(fc.uuid(), (uuid) => {
      const id = encodeId('thread', uuid);
      expect(id).toBe(TypeID.fromUUID('thread', uuid).toString());
      expect(decodeId('thread', id)).toBe(uuid);
    }),
  );
  for (const uuid of ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff']) {
    expect(encodeId('key', uuid)).toBe(TypeID.fromUUID('key', uuid).toString());
    expect(decodeId('key', encodeId('key', uuid))).toBe(uuid);
  }
});

it.each([
  ['another noun', 'message_01h455vb4pex5vsknk084sn02q'],
  ['no noun', '01h455vb4pex5vsknk084sn02q'],
  ['upper case', 'thread_01H455VB4PEX5VSKNK084SN02Q'],
  ['a letter that is not in the alphabet', 'thread_01h455vb4pex5vsknk084sn02l'],
  ['more than 128 bits', 'thread_81h455vb4pex5vsknk084sn02q'],
  ['too short', 'thread_01h455vb4pex5vsknk084sn02'],
  ['too long', 'thread_01h455vb4pex5vsknk084sn02qq'],
  ['a line break', 'thread_01h455vb4pex5vsknk084sn02q\n'],
  ['nothing', ''],
  ['no text', 7],
])('reads no id from %s', (_, text) => expect(decodeId('thread', text)).toBeNull());

it('makes ids that sort by the time they were made', () => {
  const ids = Array.from({ length: 10_000 }, newId);
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});

it('makes UUIDs of version 7, of the time they were made', () => {
  const before = Date.now();
  const id = newId();
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const ms = Number.parseInt(id.replace('-', '').slice(0, 12), 16);
  // Of a millisecond that has no more numbers to give, the next one is taken.
  expect(ms).toBeGreaterThanOrEqual(before);
  expect(ms).toBeLessThanOrEqual(Date.now() + 10);
});
