import { parseArgs } from 'node:util';

export interface Options {
  /** The names of the cases to run; empty: all but the long ones. */
  readonly cases: readonly string[];
  readonly rounds: number;
  /** How long one side runs in one round. */
  readonly seconds: number;
  /** How long the soak takes. */
  readonly minutes: number;
  /** Where CPU profiles of Parley's processes are written. */
  readonly profiles?: string | undefined;
}

export const USAGE = `npm run bench -- [case …] [--rounds 3] [--seconds 4] [--minutes 10] [--profiles DIRECTORY]`;

/** @throws when the arguments make no sense */
export function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '4' },
      minutes: { type: 'string', default: '10' },
      profiles: { type: 'string' },
    },
  });
  return {
    cases: positionals,
    rounds: positive('rounds', values.rounds),
    seconds: positive('seconds', values.seconds),
    minutes: positive('minutes', values.minutes),
    profiles: values.profiles,
  };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} must be a number above 0`);
  return value;
}
