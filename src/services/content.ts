import { z } from 'zod';
import type { ErrorDetail } from '../errors.js';
import { attachment, attachments } from './attachments.js';
import { formatPath, isObject, jsonObject, listOf, toDetail } from './input.js';

const addresses = listOf<string>((item) => {
  if (typeof item !== 'string') return 'must be a string';
  return item.length <= 998 && item.includes('@') ? null : 'must be an email address';
}).meta({
  items: { type: 'string', maxLength: 998, pattern: '@' },
  description: 'Email addresses.',
});

const email = z
  .object({
    subject: z.string().optional().meta({ description: 'The subject line.' }),
    body: z.string().optional().meta({ description: 'The text.' }),
    cc: addresses.optional(),
    bcc: addresses.optional(),
    attachments: attachments.nullish(),
  })
  .meta({ id: 'EmailContentInput', description: 'What an email is made of: at least a subject or a body.' });

const words = z.object({ body: z.string().optional().meta({ description: 'The text.' }) }).meta({
  id: 'TextContent',
  description: 'What a message of the channel `chat` or `sms` is made of.',
  required: ['body'],
});

const call = z
  .object({
    transcript: z.string().optional().meta({ description: 'What was said.' }),
    recordingUrl: z.string().optional().meta({ description: 'Where it can be heard.' }),
  })
  .meta({ id: 'VoiceContent', description: 'What a call is made of: at least a transcript or a recording.' });

/** What the content of a channel must be made of. Other members may be there too, and are kept. */
interface Rule {
  readonly members: z.ZodType;
  /** At least one of these. */
  readonly needs: readonly string[];
}

/** The channels that Parley knows the content of; any other takes any object (design, section 5). */
const rules: Record<string, Rule> = {
  email: { members: email, needs: ['subject', 'body'] },
  chat: { members: words, needs: ['body'] },
  sms: { members: words, needs: ['body'] },
  voice: { members: call, needs: ['transcript', 'recordingUrl'] },
};

/** The content that Parley knows, for its description. */
export const knownContent = { email, words, call, attachment };

/** Any object here; `contentFaults` checks it against its channel. Members that no rule names are kept as they are. */
export const content = jsonObject().meta({
  id: 'ContentInput',
  description:
    'What the message says. An email needs `subject` or `body`, `chat` and `sms` need `body`, `voice` needs `transcript` or `recordingUrl`; any other channel takes any object. Further members are kept.',
  anyOf: [
    { $ref: '#/$defs/EmailContentInput' },
    { $ref: '#/$defs/TextContent' },
    { $ref: '#/$defs/VoiceContent' },
    { type: 'object', additionalProperties: true },
  ],
});

/** The faults that content has on its channel, for a body that holds both. */
export function contentFaults(body: {
  readonly channel?: unknown;
  readonly content?: unknown;
}): ErrorDetail[] {
  const { channel, content } = body;
  const rule = typeof channel === 'string' && Object.hasOwn(rules, channel) ? rules[channel] : undefined;
  if (!rule || !isObject(content)) return [];
  const parsed = rule.members.safeParse(content, { reportInput: true });
  const faults = (parsed.error?.issues ?? []).map((issue) => ({
    ...toDetail(issue),
    field: formatPath(['content', ...issue.path]),
  }));
  if (!rule.needs.some((member) => Object.hasOwn(content, member))) faults.push(missing(channel, rule.needs));
  return faults;
}

function missing(channel: unknown, [first, ...others]: readonly string[]): ErrorDetail {
  if (others.length === 0) return { field: `content.${first}`, issue: 'is required' };
  const issue = `Content of the ${channel} channel needs ${[first, ...others].join(' or ')}`;
  return { field: 'content', issue };
}
