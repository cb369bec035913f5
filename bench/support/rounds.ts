import { type Figures, median, overRounds, type Row } from './figures.js';
import type { Options } from './options.js';

/** Does its work for about so many seconds, and says how it went. */
export type Run = (seconds: number) => Promise<Figures>;

export interface Comparison {
  readonly case: string;
  readonly connections: number | null;
  readonly parley: Run;
  readonly against: { readonly name: string; readonly run: Run };
}

/**
 * Runs both sides in turns, and in each round the other one first, so that whatever else the machine does meets
 * both. Before the first round each runs unmeasured, to get warm.
 */
export async function compare({ rounds, seconds }: Options, comparison: Comparison): Promise<Row> {
  const { parley, against } = comparison;
  await parley(seconds / 2);
  await against.run(seconds / 2);
  const ours: Figures[] = [];
  const theirs: Figures[] = [];
  for (let round = 0; round < rounds; round++) {
    const turns = [
      async () => ours.push(await parley(seconds)),
      async () => theirs.push(await against.run(seconds)),
    ];
    if (round % 2 === 1) turns.reverse();
    for (const turn of turns) await turn();
  }
  return {
    case: comparison.case,
    connections: comparison.connections,
    parley: overRounds(ours),
    against: { name: against.name, figures: overRounds(theirs) },
    ratio: median(ours.map(({ perSecond }, round) => perSecond / (theirs[round]?.perSecond ?? Number.NaN))),
  };
}
