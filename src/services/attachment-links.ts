import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { unauthorized } from '../errors.js';
import { encodeId } from '../ids.js';

/** Where an attachment is found. */
export interface AttachmentLinks {
  /** The address of the file, for callers who have a key. `id` is the stored one. */
  url(id: string): string;
  /** An address that needs no key and expires after seven days: for receivers of signals and webhooks. */
  signedUrl(tenantId: string, id: string): string;
  /**
   * Checks what a signed address carries.
   * @returns the tenant whose attachment may be read
   * @throws ParleyError `unauthorized`
   */
  verify(attachmentId: string, link: SignedLink): string;
}

/** The query parameters of a signed address. */
export interface SignedLink {
  readonly tenant: string;
  /** Seconds since 1970. */
  readonly expires: number;
  /** In base64url. */
  readonly signature: string;
}

const LIFETIME_SECONDS = 7 * 24 * 60 * 60;
const PATH = '/api/agent/conversations/attachments';

/**
 * Makes and checks links under a key of its own, derived from the one for secrets (HKDF, RFC 5869).
 * @param publicUrl where callers reach Parley, without a trailing slash; asked for each link
 */
export function createAttachmentLinks(secretsKey: Buffer, publicUrl: () => string): AttachmentLinks {
  const key = Buffer.from(hkdfSync('sha256', secretsKey, '', 'attachment links', 32));
  const sign = (tenant: string, attachmentId: string, expires: number) =>
    createHmac('sha256', key).update(`${tenant}.${attachmentId}.${expires}`).digest();
  const url = (id: string) => `${publicUrl()}${PATH}/${encodeId('attachment', id)}`;

  return {
    url,
    signedUrl(tenant, id) {
      const expires = Math.floor(Date.now() / 1_000) + LIFETIME_SECONDS;
      const signature = sign(tenant, encodeId('attachment', id), expires).toString('base64url');
      return `${url(id)}?${new URLSearchParams({ tenant, expires: String(expires), signature })}`;
    },
    verify(attachmentId, { tenant, expires, signature }) {
      const expected = sign(tenant, attachmentId, expires);
      const given = Buffer.from(signature, 'base64url');
      const isGenuine = given.length === expected.length && timingSafeEqual(given, expected);
      if (!isGenuine) throw unauthorized('The link is not a genuine one');
      if (expires * 1_000 <= Date.now()) throw unauthorized('The link has expired');
      return tenant;
    },
  };
}
