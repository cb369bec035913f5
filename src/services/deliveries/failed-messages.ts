import { rowsOfLists } from '../../database/lists.js';
import { MOVE_STATUSES } from '../message-status.js';

/**
 * Fails the messages whose fate was decided: those of which every `message.created` delivery has finally failed. It
 * takes `candidate` (tenant_id, message_id, details). A webhook that took the message and was deleted since has no
 * delivery any more, but the message's log remembers it.
 *
 * It is for a statement to see which begins when the messages are locked, so that those who settle their other
 * deliveries come before it or after it.
 */
const failMessages = (candidates: string): string => `
WITH ${candidates},
move AS (
  SELECT DISTINCT ON (c.tenant_id, c.message_id)
         c.tenant_id, c.message_id, 'failed'::message_status AS status, c.details::jsonb AS details
  FROM candidate c
  WHERE NOT EXISTS (
      SELECT 1 FROM delivery o
      WHERE o.tenant_id = c.tenant_id AND o.message_id = c.message_id AND o.event_type = 'message.created'
        AND o.status IN ('pending', 'delivered'))
    AND NOT EXISTS (
      SELECT 1 FROM conversation_message_log l
      WHERE l.message_id = c.message_id AND l.event = 'delivered' AND jsonb_exists(l.details, 'deliveryId'))
  ORDER BY c.tenant_id, c.message_id
),
${MOVE_STATUSES}
SELECT count(*)::int AS moved FROM moved`;

/** By deliveries that failed: lists of tenants, ids, the tokens that they were settled with, and details as JSON. */
export const FAIL_MESSAGES_OF = failMessages(`
input AS (
  SELECT * FROM ${rowsOfLists('text, uuid, uuid, text')} AS i (tenant_id, id, token, details)
),
candidate AS (
  SELECT d.tenant_id, d.message_id, i.details
  FROM delivery d
  JOIN input i ON i.tenant_id = d.tenant_id AND i.id = d.id AND i.token = d.lease_token
  WHERE d.event_type = 'message.created' AND d.message_id IS NOT NULL AND d.status = 'failed'
)`);

/** By messages of a tenant of which deliveries are gone: those that still have one, which failed. */
export const FAIL_MESSAGES = failMessages(`
candidate AS (
  SELECT $1::text AS tenant_id, i.message_id, $3 AS details
  FROM unnest($2::uuid[]) AS i (message_id)
  WHERE EXISTS (
    SELECT 1 FROM delivery d
    WHERE d.tenant_id = $1 AND d.message_id = i.message_id AND d.event_type = 'message.created' AND d.status = 'failed')
)`);
