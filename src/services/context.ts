import type { Config } from '../config.js';
import type { Database } from '../database/client.js';
import type { TargetGuard } from '../delivery/target-guard.js';
import type { Hints } from '../events/hints.js';
import type { LiveFeed } from '../events/live-feed.js';
import type { Log } from '../log.js';
import type { SecretBox } from '../secret-box.js';
import type { AttachmentLinks } from './attachment-links.js';
import type { Lane } from './deliveries/dispatch.js';
import type { Ingestion } from './ingestion/ingestion.js';
import type { Metrics } from './metrics.js';

/** What services work with. Made once in `app.ts`; tests override parts of it there. */
export interface Context {
  readonly config: Config;
  readonly log: Log;
  readonly database: Database;
  readonly ingestion: Ingestion;
  readonly hints: Hints;
  /** Has workers look at these lanes at once. It may be lost: the sweeper finds what is due all the same. */
  readonly ringLanes: (lanes: readonly Lane[]) => void;
  readonly liveFeed: LiveFeed;
  readonly secrets: SecretBox;
  readonly targets: TargetGuard;
  readonly attachmentLinks: AttachmentLinks;
  readonly metrics: Metrics;
}
