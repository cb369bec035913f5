import { eventCursor } from '../services/events.js';
import type { RestRequest } from './route.js';

/** Read before the answer is, so that a subscription with it as `after` misses nothing in between. */
export async function sendEventCursor({ services, actor, setHeader }: RestRequest): Promise<void> {
  setHeader('x-event-cursor', await eventCursor(services, actor));
}
