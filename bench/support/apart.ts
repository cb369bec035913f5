import type { Tenant } from './api.js';
import { pacing } from './load.js';
import { restInbound } from './requests.js';

/** What this process is told to send, and answers with the figures of. */
export interface PacedTask {
  readonly url: string;
  readonly tenant: Tenant;
  readonly threads: number;
  readonly perSecond: number;
  readonly seconds: number;
}

process.on('message', async ({ url, tenant, threads, perSecond, seconds }: PacedTask) => {
  const run = pacing(url, perSecond, (number) => restInbound(tenant, number % threads));
  process.send?.(await run(seconds));
});
