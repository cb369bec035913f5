import { deliver } from './cases/deliver.js';
import { flood } from './cases/flood.js';
import { growth } from './cases/growth.js';
import { ingest } from './cases/ingest.js';
import { live } from './cases/live.js';
import { read } from './cases/read.js';
import { soak } from './cases/soak.js';
import type { Result } from './support/figures.js';
import { describeMachine } from './support/machine.js';
import { type Options, parseOptions, USAGE } from './support/options.js';
import { onStage, type Stage } from './support/stage.js';
import { report } from './support/table.js';

type Case = (stage: Stage, options: Options) => Promise<Result>;

/** In the order in which they run. */
const cases: Readonly<Record<string, Case>> = { ingest, read, deliver, live, flood };
/** Only run when they are named: they take long. */
const longCases: Readonly<Record<string, Case>> = { growth, soak };

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  const all = { ...cases, ...longCases };
  const names = options.cases.length > 0 ? options.cases : Object.keys(cases);
  const unknown = names.filter((name) => !Object.hasOwn(all, name));
  if (unknown.length > 0) {
    throw new Error(
      `There is no case ${unknown.join(', ')}; there are ${Object.keys(all).join(', ')}.\n${USAGE}`,
    );
  }
  await onStage(options, async (stage) => {
    console.log(`${await describeMachine(stage)}\n`);
    for (const name of names) {
      const play = all[name];
      if (play) console.log(report(await stage.scene((scene) => play(scene, options))));
    }
  });
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  },
);
