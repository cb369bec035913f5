import { z } from 'zod';
import { decodeId, encodeId, newId } from '../ids.js';
import { isObject, text } from './input.js';

/** A file on its way into the database. */
export interface NewAttachment {
  /** The stored id. */
  readonly id: string;
  readonly filename: string;
  readonly contentType: string;
  /** Padded base64 in the standard alphabet. */
  readonly data: string;
}

const MAX_ATTACHMENTS = 50;

/** RFC 9110, section 8.3.1, with parameters; nothing that could end a header line. */
const mediaType = z
  .string()
  .max(255, 'must have at most 255 characters')
  .regex(
    /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+(\s*;[\t\x20-\x7e]*)?$/,
    'must be a media type such as text/plain',
  )
  .meta({ description: 'The media type of the file.', examples: ['text/plain'] });

const base64 = z
  .string()
  .superRefine((value, context) => {
    const issue = base64Issue(value);
    if (issue) context.addIssue({ code: 'custom', message: issue });
  })
  .meta({
    description:
      'The bytes of the file in base64: the standard or the URL-safe alphabet, padded or not. Stored beside the message and never shown again in it.',
    contentEncoding: 'base64',
    pattern: '^[A-Za-z0-9_+/-]*={0,2}$',
    examples: ['base64-encoded-data'],
  });

export const attachment = z
  .looseObject({
    filename: text(1, 255).meta({ description: 'The name of the file.', examples: ['test.txt'] }),
    contentType: mediaType,
    data: base64,
    contentId: text(1, 998)
      .meta({ description: 'By which the body refers to it (`cid:`).', examples: ['attachment_123'] })
      .nullish(),
  })
  .meta({ id: 'AttachmentInput', description: 'A file that comes with an email.' });

/** The attachments of an email, as they come in. Too many are not looked at one by one. */
export const attachments = z
  .array(z.unknown())
  .max(MAX_ATTACHMENTS, `must have at most ${MAX_ATTACHMENTS} items`)
  .pipe(z.array(attachment))
  .meta({ description: 'Files that come with it.', items: { $ref: '#/$defs/AttachmentInput' } });

/** Both alphabets, padded or not, trailing bits ignored (design, section 5). */
function base64Issue(value: string): string | null {
  if (!/^[\w+/-]*={0,2}$/.test(value)) return 'must be base64';
  const padding = value.endsWith('==') ? 2 : value.endsWith('=') ? 1 : 0;
  const lastDigits = (value.length - padding) % 4;
  if (lastDigits === 0 && padding > 0) return 'must be base64';
  return lastDigits === 1 ? 'is base64 that was cut off' : null;
}

function toStandardBase64(value: string): string {
  const digits = value.replace(/=+$/, '').replaceAll('-', '+').replaceAll('_', '/');
  return digits.padEnd(Math.ceil(digits.length / 4) * 4, '=');
}

const decodedSize = (base64: string) => Math.floor((base64.replace(/=+$/, '').length * 3) / 4);

/**
 * Takes the files out of a message's content. What stays says what they are: `id` and `size` instead of `data`.
 * Only emails have attachments that Parley knows of; any other content is the caller's own.
 */
export function separateAttachments(
  channel: string,
  content: Readonly<Record<string, unknown>>,
): { content: Readonly<Record<string, unknown>>; attachments: NewAttachment[] } {
  if (channel !== 'email' || content.attachments == null) return { content, attachments: [] };
  const files = (content.attachments as z.output<typeof attachments>).map(({ data, ...description }) => ({
    description,
    stored: {
      id: newId(),
      filename: description.filename,
      contentType: description.contentType,
      data: toStandardBase64(data),
    },
  }));
  return {
    content: {
      ...content,
      attachments: files.map(({ description, stored }) => {
        const { id: _, size: __, url: ___, ...kept } = description as Record<string, unknown>;
        return { ...kept, id: encodeId('attachment', stored.id), size: decodedSize(stored.data) };
      }),
    },
    attachments: files.map(({ stored }) => stored),
  };
}

/**
 * The content as it is shown: every attachment with its address.
 * @param urlOf the address of a file by its stored id
 */
export function showContent(
  message: { readonly channel: string; readonly content: unknown },
  urlOf: (id: string) => string,
): unknown {
  const { channel, content } = message;
  if (channel !== 'email' || !isObject(content) || !Array.isArray(content.attachments)) return content;
  return {
    ...content,
    attachments: content.attachments.map((attachment: Record<string, unknown>) => {
      const id = decodeId('attachment', attachment.id);
      return id ? { ...attachment, url: urlOf(id) } : attachment;
    }),
  };
}
