import { z } from 'zod';
import type { ErrorDetail } from '../errors.js';
import { formatPath, isObject, jsonObject, toDetail } from './input.js';

/** A channel that Parley knows the content of; any other channel takes any object (design, section 5). */
const rules: Record<string, z.ZodType> = {
  email: z
    .looseObject({
      subject: z.string().optional(),
      body: z.string().optional(),
      cc: z.array(address()).optional(),
      bcc: z.array(address()).optional(),
    })
    .refine(hasOneOf('subject', 'body'), 'Content of the email channel needs subject or body'),
  chat: z.looseObject({ body: z.string() }),
  sms: z.looseObject({ body: z.string() }),
  voice: z
    .looseObject({ transcript: z.string().optional(), recordingUrl: z.string().optional() })
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

function address() {
  return z.string().max(998).includes('@', 'must be an email address');
}

function hasOneOf(...members: string[]) {
  return (value: object) => members.some((member) => Object.hasOwn(value, member));
}
