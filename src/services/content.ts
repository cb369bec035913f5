import { z } from 'zod';
import type { ErrorDetail } from '../errors.js';
import { formatPath, isObject, jsonObject, listOf, toDetail } from './input.js';

const addresses = listOf<string>((item) => {
  if (typeof item !== 'string') return 'must be a string';
  return item.length <= 998 && item.includes('@') ? null : 'must be an email address';
});

/** What the content of a channel must be made of. Other members may be there too, and are kept. */
interface Rule {
  readonly members: z.ZodType;
  /** At least one of these. */
  readonly needs: readonly string[];
}

/** The channels that Parley knows the content of; any other takes any object (design, section 5). */
const rules: Record<string, Rule> = {
  email: {
    members: z.object({
      subject: z.string().optional(),
      body: z.string().optional(),
      cc: addresses.optional(),
      bcc: addresses.optional(),
    }),
    needs: ['subject', 'body'],
  },
  chat: { members: z.object({ body: z.string().optional() }), needs: ['body'] },
  sms: { members: z.object({ body: z.string().optional() }), needs: ['body'] },
  voice: {
    members: z.object({ transcript: z.string().optional(), recordingUrl: z.string().optional() }),
    needs: ['transcript', 'recordingUrl'],
  },
};

/** Checks content against its channel. Members that no rule names are kept as they are. */
export const content = jsonObject();

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
