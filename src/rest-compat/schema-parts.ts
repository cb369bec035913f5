import { z } from 'zod';
import type { Noun } from '../ids.js';

// What several schemas have in common: members by their names, and the content of messages.

export const time = (description: string) =>
  z.string().meta({ description, format: 'date-time', examples: ['2026-11-21T05:55:46.026Z'] });

/** A TypeID: the noun and a UUIDv7 (TypeID specification 0.3). */
export const idOf = (noun: Noun, description: string) =>
  z
    .string()
    .regex(new RegExp(`^${noun}_[0-7][0-9a-hjkmnp-tv-z]{25}$`))
    .meta({ description, examples: [`${noun}_01m7yatrq7fesb3prjjasnfwn4`] });

export const anyObject = z.record(z.string(), z.unknown());

export const threadId = idOf('thread', 'The thread.');
export const messageId = idOf('message', 'The message.');
export const workflowId = z.string().meta({ description: 'The workflow.', examples: ['workflow_123'] });
export const tenantId = z
  .string()
  .meta({ description: 'The tenant of the credential.', examples: ['tenant_123'] });
export const participantId = z
  .string()
  .meta({ description: 'The person or system at the other end.', examples: ['participant_123'] });
export const channel = z.string().meta({ description: 'The channel.', examples: ['email'] });
export const channelKey = z.string().meta({
  description: 'How the participant is reached on the channel.',
  examples: ['participant_123@example.com'],
});
export const metadata = anyObject.meta({
  description: 'What the caller keeps with it; `{}` when nothing was given.',
  examples: [{ priority: 'high', category: 'support' }],
});
export const position = z
  .int()
  .min(1)
  .meta({ description: 'The place in the thread: 1, 2, 3 … without gaps.' });
export const hasMore = z.boolean().meta({ description: 'Whether there are more behind these.' });
export const page = z.int().min(1).meta({ description: 'Which page this is, from 1.' });
export const pageSize = z.int().min(1).meta({ description: 'How many a page has at most.' });
export const threadStatus = z
  .enum(['active', 'archived', 'closed'])
  .meta({ description: 'The status of a thread.' });
export const messageStatus = z
  .enum(['sent', 'delivered', 'read', 'failed'])
  .meta({ description: 'What became of the message so far.' });
export const direction = z
  .enum(['inbound', 'outbound'])
  .meta({ description: '`inbound`: to the workflow; `outbound`: to the participant.' });

export const attachment = z
  .looseObject({
    id: idOf('attachment', 'The attachment.'),
    filename: z.string().meta({ description: 'The name of the file.', examples: ['test.txt'] }),
    contentType: z.string().meta({ description: 'The media type of the file.', examples: ['text/plain'] }),
    contentId: z.string().nullish().meta({ description: 'By which the body refers to it (`cid:`).' }),
    size: z.int().min(0).meta({ description: 'How many bytes the file has.' }),
    url: z.string().meta({
      description:
        'Where the bytes are. In signals and webhooks a link that needs no key and expires after 7 days.',
      format: 'uri',
    }),
    data: z.never().optional().meta({ description: 'Never shown.' }),
  })
  .meta({ id: 'Attachment', description: 'A file of an email. Further members that it came with are kept.' });

export const emailContent = z
  .looseObject({
    subject: z.string().optional().meta({ description: 'The subject line.' }),
    body: z.string().optional().meta({ description: 'The text.' }),
    cc: z.array(z.string()).optional().meta({ description: 'Email addresses.' }),
    bcc: z.array(z.string()).optional().meta({ description: 'Email addresses.' }),
    attachments: z.array(attachment).nullish().meta({ description: 'Files, without their bytes.' }),
  })
  .meta({ id: 'EmailContent', description: 'What an email is made of, as it is shown.' });

export const content = z.union([emailContent, anyObject]).meta({
  description: 'What the message says: `EmailContent` for an email, otherwise as it came.',
  examples: [{ subject: 'Hello, how are you?', body: 'Hello, how are you?' }],
});

/** An email's content is the one that must look as described, whatever other channels make of theirs. */
export const contentFitsChannel = {
  if: { properties: { channel: { const: 'email' } } },
  // biome-ignore lint/suspicious/noThenProperty: JSON Schema's word
  then: { properties: { content: { $ref: '#/$defs/EmailContent' } } },
};
