import { runStatement } from '../database/client.js';
import { notFound } from '../errors.js';
import { decodeId } from '../ids.js';
import { type Actor, requireScope } from './actor.js';
import type { Context } from './context.js';

/** A stored file, without its bytes. */
export interface AttachmentFile {
  readonly tenantId: string;
  readonly id: string;
  readonly filename: string;
  readonly contentType: string;
  /** In bytes. */
  readonly size: number;
  /** Of the bytes. */
  readonly sha256: Uint8Array;
}

/** How much of a file is in memory at a time. */
const SLICE_BYTES = 256 * 1024;

/**
 * What is known of an attachment. Its bytes are read by `readAttachment`.
 * @throws ParleyError `not_found`
 */
export async function getAttachment(
  context: Context,
  actor: Actor,
  attachmentId: string,
): Promise<AttachmentFile> {
  requireScope(actor, 'conversations:read');
  const id = decodeId('attachment', attachmentId);
  const file =
    id &&
    (await context.database.attachment.findUnique({
      where: { tenantId_id: { tenantId: actor.tenantId, id } },
      omit: { data: true },
    }));
  if (!file) throw notFound('Attachment');
  return file;
}

const READ_SLICE = `
SELECT substring(data FROM $3::int + 1 FOR $4::int) AS slice
FROM conversation_attachment
WHERE tenant_id = $1 AND id = $2::uuid`;

/**
 * The bytes of a file from `start` up to, but not including, `end`, slice by slice.
 * @throws Error when the file is deleted meanwhile: who reads it gets less than was announced
 */
export async function* readAttachment(
  { database }: Context,
  { tenantId, id }: AttachmentFile,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void> {
  for (let position = start; position < end; position += SLICE_BYTES) {
    const length = Math.min(SLICE_BYTES, end - position);
    const [row] = await runStatement<{ slice: Uint8Array }>(
      database,
      READ_SLICE,
      tenantId,
      id,
      position,
      length,
    );
    if (row?.slice.length !== length) throw new Error('The attachment was deleted while it was being read');
    yield row.slice;
  }
}
