import { Readable } from 'node:stream';
import contentDisposition from 'content-disposition';
import fresh from 'fresh';
import parseRange from 'range-parser';
import { z } from 'zod';
import type { Actor } from '../services/actor.js';
import { type AttachmentFile, getAttachment, readAttachment } from '../services/attachment-files.js';
import { parseInput } from '../services/input.js';
import { wholeNumber } from '../services/threads.js';
import { Answer } from './answers.js';
import type { RestRequest, UnauthenticatedRequest } from './route.js';

/** What a signed link carries. */
export const signedLink = z.object({
  tenant: z.string().max(63).meta({ description: 'Of a signed link: the tenant.' }),
  expires: wholeNumber(0, Number.MAX_SAFE_INTEGER).meta({
    description: 'Of a signed link: when it expires, in seconds since 1970.',
  }),
  signature: z.string().max(128).meta({ description: 'Of a signed link: its signature.' }),
});

/**
 * Who reads by a signed link: nobody by name, and nothing but this attachment.
 * @throws ParleyError `unauthorized`, also when it is no link at all
 */
export function actorOfLink({ services, params, query }: UnauthenticatedRequest): Actor | null {
  if (!('signature' in query)) return null;
  const link = parseInput(signedLink, query);
  const tenantId = services.attachmentLinks.verify(params.attachmentId ?? '', link);
  return {
    tenantId,
    keyId: 'link',
    userId: null,
    scopes: new Set(['conversations:read']),
    isOperator: false,
  };
}

/** The file as a download, never as a page of ours: conditional and range requests as RFC 9110 has them. */
export async function getAttachmentRoute(request: RestRequest): Promise<Answer> {
  const { services, actor, params, headers } = request;
  const file = await getAttachment(services, actor, params.attachmentId ?? '');
  const common = headersOf(file);
  // A client's own `Cache-Control: no-cache` is for caches; here the tag decides.
  if (fresh({ 'if-none-match': headers['if-none-match'] }, common)) return new Answer(304, common, null);

  const range = rangeOf(file, headers, common.etag);
  if (range === 'unsatisfiable') {
    return new Answer(416, { ...common, 'content-range': `bytes */${file.size}` }, null);
  }
  const { start, end } = range ?? { start: 0, end: file.size };
  const bytes = Readable.from(readAttachment(services, file, start, end), { objectMode: false });
  const length = { 'content-length': String(end - start), 'content-type': file.contentType };
  if (!range) return new Answer(200, { ...common, ...length }, bytes);
  const contentRange = { 'content-range': `bytes ${start}-${end - 1}/${file.size}` };
  return new Answer(206, { ...common, ...length, ...contentRange }, bytes);
}

const headersOf = ({ filename, sha256 }: AttachmentFile) => ({
  etag: `"${Buffer.from(sha256).toString('base64url')}"`,
  'accept-ranges': 'bytes',
  'cache-control': 'private, no-cache',
  'content-disposition': contentDisposition(filename, { fallback: filename.replace(/[^\x20-\x7e]/g, '?') }),
  'content-security-policy': "default-src 'none'; sandbox",
  'x-content-type-options': 'nosniff',
  // A signed link may be shown by the page of a dashboard that lives elsewhere.
  'cross-origin-resource-policy': 'cross-origin',
});

/** The one range that is asked for, its end left out; null for the whole file, as for several ranges. */
function rangeOf({ size }: AttachmentFile, headers: RestRequest['headers'], etag: string) {
  const { range, 'if-range': condition } = headers;
  if (typeof range !== 'string' || (condition !== undefined && condition !== etag)) return null;
  // The end of a file that is shorter is the whole file (RFC 9110, section 14.1.2).
  const [, last] = /^bytes=-(\d+)$/.exec(range) ?? [];
  if (last !== undefined && Number(last) > size && size > 0) return { start: 0, end: size };
  const ranges = parseRange(size, range, { combine: true });
  if (ranges === -1) return 'unsatisfiable';
  const [only, ...others] = ranges === -2 || ranges.type !== 'bytes' ? [] : ranges;
  return only && others.length === 0 ? { start: only.start, end: only.end + 1 } : null;
}
