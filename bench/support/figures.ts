import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** What one side did in one round. Times are in milliseconds. */
export interface Figures {
  readonly perSecond: number;
  readonly p50: number | null;
  readonly p99: number | null;
  /** Answers that were not what was asked for. */
  readonly errors: number;
}

/** One line of the table. */
export interface Row {
  readonly case: string;
  readonly connections: number | null;
  readonly parley: Figures;
  /** What Parley is compared with, and its figures; null where there is nothing to compare with. */
  readonly against: { readonly name: string; readonly figures: Figures } | null;
  /** Median of the rounds' ratios of the rates. */
  readonly ratio: number | null;
}

/** What was promised of the figures. */
export interface Check {
  readonly name: string;
  readonly value: number;
  readonly limit: number;
  readonly holds: 'at least' | 'at most';
}

export interface Result {
  readonly rows: readonly Row[];
  readonly checks: readonly Check[];
}

export const isMet = ({ value, limit, holds }: Check): boolean =>
  holds === 'at least' ? value >= limit : value <= limit;

/** Latencies, taken in milliseconds and kept in microseconds. */
export class Latencies {
  readonly #histogram: RecordableHistogram = createHistogram();

  record(ms: number): void {
    this.#histogram.record(Math.max(1, Math.round(ms * 1_000)));
  }

  get count(): number {
    return this.#histogram.count;
  }

  /** Null when nothing was recorded. */
  percentile(percent: number): number | null {
    return this.count === 0 ? null : this.#histogram.percentile(percent) / 1_000;
  }

  figures(seconds: number, errors: number): Figures {
    return {
      perSecond: this.count / seconds,
      p50: this.percentile(50),
      p99: this.percentile(99),
      errors,
    };
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

const medianOrNull = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : median(known);
};

/** Of many rounds one: the median of each figure, and all errors. */
export const overRounds = (rounds: readonly Figures[]): Figures => ({
  perSecond: median(rounds.map(({ perSecond }) => perSecond)),
  p50: medianOrNull(rounds.map(({ p50 }) => p50)),
  p99: medianOrNull(rounds.map(({ p99 }) => p99)),
  errors: rounds.reduce((sum, { errors }) => sum + errors, 0),
});

const nameOf = (row: Row): string =>
  `${row.case}${row.connections === null ? '' : `, ${row.connections} connections`}, to ${row.against?.name}`;

/** The promise that a row's rate is so much of the other's. */
export const ratioOf = (row: Row, limit: number): Check => ({
  name: `${nameOf(row)}: rate`,
  value: row.ratio ?? Number.NaN,
  limit,
  holds: 'at least',
});

/** The promise that a row's p99 is at most so much of the other's. */
export const p99Of = (row: Row, limit: number): Check => ({
  name: `${nameOf(row)}: p99`,
  value: (row.parley.p99 ?? Number.NaN) / (row.against?.figures.p99 ?? Number.NaN),
  limit,
  holds: 'at most',
});
