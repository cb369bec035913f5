import type { Config } from '../config.js';
import type { Database } from '../database/client.js';
import type { TargetGuard } from '../delivery/target-guard.js';
import type { Hints } from '../events/hints.js';
import type { LiveFeed } from '../events/live-feed.js';
import type { Log } from '../log.js';
import type { SecretBox } from '../secret-box.js';
import type { AttachmentLinks } from './attachment-links.js';
import type { Ingestion } from './ingestion/ingestion.js';

/** What services work with. Made once in `app.ts`; tests override parts of it there. */
export interface Context {
  readonly config: Config;
  readonly log: Log;
  readonly database: Database;
  readonly ingestion: Ingestion;
  readonly hints: Hints;
  readonly liveFeed: LiveFeed;
  readonly secrets: SecretBox;
  readonly targets: TargetGuard;
  readonly attachmentLinks: AttachmentLinks;
}
