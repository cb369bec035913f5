import { it } from 'vitest';
import { liveChurn } from '../support/live-churn.js';

it.each(['absent', 'present', 'restarted'] as const)(
  '200 subscribers of two apis, with Redis %s, get every event of 20,000 messages once and in order',
  async (redis) => {
    const figures = await liveChurn({
      subscribers: 200,
      messages: 20_000,
      durationMs: 60_000,
      cutEveryMs: 2_000,
      killEveryMs: 5_000,
      drainTimeoutMs: 300_000,
      redis,
    });
    console.info(JSON.stringify({ redis, ...figures }));
  },
);
