import { z } from 'zod';
import type { ErrorDetail } from '../errors.js';
import { formatPath, isObject, jsonObject, listOf, toDetail } from './input.js';

const addresses = listOf<string>((item) => {
  if (typeof item !== 'string') return 'must be a string';
  return item.length <= 998 && item.includes('@') ? null : 'must be an email address';
});

/** A channel that Parley knows the content of; any other channel takes any object (design, section 5). */
const rules: Record<string, z.ZodType> = {
  email: z
    .object({
      subject: z.string().optional(),
      body: z.string().optional(),
      cc: addresses.optional(),
      bcc: addresses.optional(),
    })
    .refine(hasOneOf('subject', 'body'), 'Content of the email channel needs subject or body'),
  chat: z.object({ body: z.string() }),
  sms: z.object({ body: z.string() }),
  voice: z
    .object({ transcript: z.string().optional(), recordingUrl: z.string().optional() })
    .refine(
      hasOneOf('transcript', 'recordingUrl'),
      'Content of the voice channel needs transcript or recordingUrl',
    ),
};

/** Checks content against its channel. Members that no rule names are kept as they are. */
export const content = jsonObject();

/** The faults that content has on its channel, for a body that holds both. */
export function contentFaults(body: {
  readonly channel?: unknown;
  readonly content?: unknown;
}): ErrorDetail[] {
  if (typeof body.channel !== 'string' || !isObject(body.content) || !Object.hasOwn(rules, body.channel))
    return [];
  const parsed = rules[body.channel]?.safeParse(body.content, { reportInput: true });
  return (parsed?.error?.issues ?? []).map((issue) => ({
    ...toDetail(issue),
    field: formatPath(['content', ...issue.path]),
  }));
}

function hasOneOf(...members: string[]) {
  return (value: object) => members.some((member) => Object.hasOwn(value, member));
}
