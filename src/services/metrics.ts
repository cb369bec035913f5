import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry, register } from 'prom-client';
import { type Database, runStatement } from '../database/client.js';
import type { Log } from '../log.js';

/** One POST to a receiver, as it is counted. */
export interface MeasuredAttempt {
  readonly kind: 'signal' | 'webhook';
  readonly status: 'pending' | 'delivered' | 'failed';
  readonly error: string | null;
  readonly durationMs: number;
}

/** One answered request. */
export interface MeasuredRequest {
  readonly method: string;
  /** The pattern, such as `/threads/:threadId`, and never the path: the number of series must stay small. */
  readonly route: string;
  readonly statusCode: number;
  readonly durationMs: number;
}

/** What this process has done, and what waits in the database. Nothing in it names a tenant. */
export interface Metrics {
  countAttempt(attempt: MeasuredAttempt): void;
  countRequest(request: MeasuredRequest): void;
  /** In the text format of Prometheus. */
  expose(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/** What waits is read again after this; scrapes between get the same. */
const BACKLOG_AGE_MS = 5_000;
/** What is counted of the backlog at most, so that a long one does not make scrapes slow. */
const MAX_COUNTED = 100_000;
const BACKLOG_TIMEOUT_MS = 3_000;
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30];

/** Due is what could be sent at this moment: not what is paused, rests from failing, or is being sent. */
const BACKLOG = `
WITH waiting AS (
  SELECT kind, tenant_id, webhook_id, due_at FROM delivery
  WHERE status = 'pending' AND due_at IS NOT NULL
  LIMIT ${MAX_COUNTED}
),
parked AS (
  SELECT 1 FROM delivery WHERE status = 'pending' AND due_at IS NULL LIMIT ${MAX_COUNTED}
),
due AS (
  SELECT d.kind, d.due_at FROM waiting d
  LEFT JOIN webhook w ON w.tenant_id = d.tenant_id AND w.id = d.webhook_id
  LEFT JOIN webhook_health h ON h.tenant_id = d.tenant_id AND h.webhook_id = d.webhook_id
  WHERE d.due_at <= now() AND (w.id IS NULL OR w.status = 'enabled') AND h.resting_until IS NULL
)
SELECT kind::text AS kind,
       (SELECT count(*)::int FROM waiting WHERE waiting.kind = kinds.kind) AS pending,
       (SELECT count(*)::int FROM due WHERE due.kind = kinds.kind) AS due,
       (SELECT coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8 FROM due WHERE due.kind = kinds.kind)
         AS "oldestSeconds",
       (SELECT count(*)::int FROM parked) AS parked,
       (SELECT coalesce(sum(c.last_sequence - d.sequence), 0)::float8
        FROM tenant_counter c JOIN dispatch_checkpoint d USING (tenant_id)) AS undispatched,
       (SELECT count(*)::int FROM webhook WHERE status = 'disabled') AS disabled,
       (SELECT count(*)::int FROM webhook_health WHERE resting_until IS NOT NULL) AS resting
FROM unnest(enum_range(NULL::delivery_kind)) AS kinds (kind)`;

interface Backlog {
  readonly kind: string;
  readonly pending: number;
  readonly due: number;
  readonly oldestSeconds: number;
  readonly parked: number;
  readonly undispatched: number;
  readonly disabled: number;
  readonly resting: number;
}

let measuresProcess = false;

/** Makes the instruments of one Parley. Those of the process (memory, event loop) are shared. */
export function createMetrics(database: Database, log: Log): Metrics {
  if (!measuresProcess) collectDefaultMetrics();
  measuresProcess = true;
  const own = new Registry();
  const registers = [own];

  const attempts = new Counter({
    name: 'parley_delivery_attempts_total',
    help: 'POSTs to webhooks and workflow handlers, by what came of them (status pending: to be tried again).',
    labelNames: ['kind', 'status', 'error'],
    registers,
  });
  const attemptSeconds = new Histogram({
    name: 'parley_delivery_attempt_duration_seconds',
    help: 'How long POSTs to webhooks and workflow handlers took.',
    labelNames: ['kind', 'status'],
    buckets: SECONDS,
    registers,
  });
  const requestSeconds = new Histogram({
    name: 'parley_http_request_duration_seconds',
    help: 'How long requests to Parley took, by route.',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers,
  });
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name, help, labelNames, registers });
  const pending = gauge(
    'parley_deliveries_pending',
    'Deliveries that wait for their first or next attempt, or for its end, or to be resumed.',
    ['kind'],
  );
  const due = gauge('parley_deliveries_due', 'Deliveries that could be sent now.', ['kind']);
  const oldest = gauge(
    'parley_delivery_oldest_due_age_seconds',
    'For how long the oldest delivery that could be sent has been due.',
    ['kind'],
  );
  const parked = gauge('parley_signals_without_handler', 'Signals that wait for a workflow handler.');
  const undispatched = gauge(
    'parley_events_undispatched',
    'Events of which no deliveries have been made yet.',
  );
  const disabled = gauge('parley_webhooks_disabled', 'Webhooks that were disabled.');
  const resting = gauge(
    'parley_webhooks_resting',
    'Webhooks that only fail and are tried with one delivery at a time.',
  );
  const databaseUp = gauge('parley_database_up', 'Whether what waits could be read from the database.');
  const gauges = [pending, due, oldest, parked, undispatched, disabled, resting];

  function show(rows: readonly Backlog[]): void {
    for (const row of rows) {
      const { kind } = row;
      pending.set({ kind }, row.pending);
      due.set({ kind }, row.due);
      oldest.set({ kind }, row.oldestSeconds);
      parked.set(row.parked);
      undispatched.set(row.undispatched);
      disabled.set(row.disabled);
      resting.set(row.resting);
    }
  }

  async function readBacklog(): Promise<void> {
    try {
      show(await within(BACKLOG_TIMEOUT_MS, runStatement<Backlog>(database, BACKLOG)));
      databaseUp.set(1);
    } catch (error) {
      log.warn({ err: error }, 'what waits could not be measured');
      for (const each of gauges) each.reset();
      databaseUp.set(0);
    }
  }

  let reading = Promise.resolve();
  let readAt = Number.NEGATIVE_INFINITY;

  return {
    countAttempt({ kind, status, error, durationMs }) {
      attempts.inc({ kind, status, error: errorLabel(error) });
      attemptSeconds.observe({ kind, status }, durationMs / 1_000);
    },
    countRequest({ method, route, statusCode, durationMs }) {
      requestSeconds.observe({ method, route, status: statusCode }, durationMs / 1_000);
    },
    async expose() {
      if (performance.now() - readAt > BACKLOG_AGE_MS) {
        readAt = performance.now();
        reading = readBacklog();
      }
      await reading;
      return { contentType: own.contentType, text: await Registry.merge([register, own]).metrics() };
    },
  };
}

/** Statuses by their class: receivers choose them, and must not choose the number of series. */
const errorLabel = (error: string | null) => error?.replace(/^http_(\d)\d\d$/, 'http_$1xx') ?? '';

async function within<Value>(milliseconds: number, work: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`It took longer than ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
