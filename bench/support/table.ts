import { type Check, type Figures, isMet, type Result, type Row } from './figures.js';

const HEAD = [
  'case',
  'conns',
  'against',
  'Parley/s',
  'other/s',
  'ratio',
  'p50 ms',
  'other',
  'p99 ms',
  'other',
  'errors',
];

/** The table of all rows, as Markdown. */
export function toTable(rows: readonly Row[]): string {
  return align([HEAD, HEAD.map(() => ''), ...rows.map(cellsOf)]);
}

function cellsOf({ case: name, connections, parley, against, ratio }: Row): string[] {
  const other = against?.figures;
  return [
    name,
    connections?.toString() ?? '',
    against?.name ?? '',
    rate(parley),
    other ? rate(other) : '',
    ratio?.toFixed(2) ?? '',
    time(parley.p50),
    time(other?.p50),
    time(parley.p99),
    time(other?.p99),
    String(parley.errors + (other?.errors ?? 0)),
  ];
}

const rate = ({ perSecond }: Figures) =>
  Number.isNaN(perSecond) ? '' : Math.round(perSecond).toLocaleString('en');
const time = (ms: number | null | undefined) => (ms == null ? '' : ms.toFixed(ms < 10 ? 2 : 1));

/** What was promised, and whether it holds. */
export function toChecks(checks: readonly Check[]): string {
  const cells = checks.map((check) => [
    check.name,
    `${check.holds} ${check.limit}`,
    check.value.toFixed(2),
    isMet(check) ? 'met' : 'MISSED',
  ]);
  return align([['promise', 'limit', 'measured', ''], ['', '', '', ''], ...cells]);
}

/** Rows of Markdown; the second one becomes the line under the head. */
function align(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row, index) =>
      row.map((cell, column) =>
        index === 1 ? '-'.repeat(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      ),
    )
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');
}

export const report = ({ rows, checks }: Result): string =>
  `${toTable(rows)}\n${checks.length > 0 ? `\n${toChecks(checks)}\n` : ''}`;
