import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { restRoutes } from '../src/rest-compat/routes.js';
import { REST } from './support/app.js';
import { install } from './support/process.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = await readFile(join(root, 'README.md'), 'utf8');

/** Where the README's Parley listens. */
const ADDRESS = 'http://127.0.0.1:4000';

/** A command of the README, and what it says that comes of it. */
interface Example {
  readonly command: string;
  readonly printed: string;
}

/** The calls of a chapter's `sh` blocks, each with its answer as a comment behind it. */
function examplesOf(heading: string): Example[] {
  const chapter = readme.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const examples: Example[] = [];
  for (const [, block = ''] of chapter.matchAll(/^```sh\n(.*?)^```$/gms)) {
    for (const [, command = '', comment = ''] of block.matchAll(/^(parley .+)\n((?:#.*\n)*)/gm)) {
      examples.push({ command, printed: comment.replace(/^# ?/gm, '').trimEnd() });
    }
  }
  return examples;
}

/** The lines that the README has pasted once: the address, and how to call it. */
const preparation = /^API=.*\nparley\(\).*$/m.exec(readme)?.[0] ?? '';

/** What is another one in every Parley. It is told apart by its kind, and ids by which one of their kind they are. */
const variable =
  /\b(?:thread|message|webhook|attachment)_[0-9a-z]{26}\b|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|whsec_[\w+/]+=*|(?<=^id: )[\w-]+$/gm;
const ID = /^[a-z]+_[0-9a-z]{26}$/;
const kindOf = (value: string) => /^(?:[a-z]+_(?=[0-9a-z]{26}$)|whsec_)|^\d{4}-|/.exec(value)![0];

/** `…` stands for anything. */
const abridged = (text: string) =>
  new RegExp(`^${text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replaceAll('…', '.*')}$`);

/** Runs commands one after the other, in the ids of the Parley that answers. */
async function createShell(url: string, dataDir: string) {
  const directory = await mkdtemp(join(tmpdir(), 'readme-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  await symlink(dataDir, join(directory, '.data'));
  await symlink(join(root, 'examples'), join(directory, 'examples'));
  /** The README's ids, and which they are here. */
  const ids = new Map<string, string>();
  const translate = (text: string) => text.replace(variable, (found) => ids.get(found) ?? found);

  return {
    run: (command: string): Promise<string> =>
      new Promise((resolve) => {
        const script = `${preparation}\n${translate(command)}`.replaceAll(ADDRESS, url);
        execFile('bash', ['-c', script], { cwd: directory }, (_error, stdout, stderr) =>
          resolve((stdout + stderr).replaceAll(url, ADDRESS).trimEnd()),
        );
      }),
    /** Says of each of the README's ids which it is here, by where they stand; the rest is to be equal. */
    compare(answer: string, printed: string) {
      const values = answer.match(variable) ?? [];
      for (const [index, value] of (printed.match(variable) ?? []).entries()) {
        const here = values[index] ?? '';
        if (ID.test(value) && kindOf(value) === kindOf(here) && !ids.has(value)) ids.set(value, here);
      }
      const masked = (text: string) =>
        text.replace(variable, (found) => (ID.test(found) ? found : `<${kindOf(found)}>`));
      const wanted = masked(translate(printed));
      if (wanted.includes('…')) expect(masked(answer)).toMatch(abridged(wanted));
      else expect(masked(answer)).toBe(wanted);
    },
  };
}

/** `GET /threads/{threadId}` of a line of the README. */
function routeOf(command: string): string {
  const method = /-X (\w+)/.exec(command)?.[1] ?? (/ -d /.test(command) ? 'POST' : 'GET');
  const path = /\$API(\/[^\s"?]*)/.exec(command)?.[1] ?? '';
  const route = restRoutes.find(
    (candidate) =>
      candidate.method === method &&
      new RegExp(`^${candidate.path.replace(/:\w+/g, '[a-z]+_[0-9a-z]{26}')}$`).test(REST + path),
  );
  return route ? `${route.method} ${route.path}` : command;
}

const examples = examplesOf('REST');

it('the README has a curl line for every REST route, and an answer for every line', () => {
  expect([...new Set(examples.map(({ command }) => routeOf(command)))].sort()).toEqual(
    restRoutes.map(({ method, path }) => `${method} ${path}`).sort(),
  );
  expect(examples.filter(({ printed }) => printed === '')).toEqual([]);
});

it("the README's curl lines, one after the other at a fresh Parley, answer as printed", async () => {
  const installation = await install();
  const { url } = await installation.start();
  const shell = await createShell(url, installation.dataDir);
  for (const { command, printed } of examples) shell.compare(await shell.run(command), printed);
});
