import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeDataDir, removeDataDir } from '../support/postgres.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const DEMO_MS = 90_000;

interface Demo {
  readonly exitCode: number | null;
  readonly output: string;
  /** What is left in the demo's temporary directory. */
  readonly files: string[];
  /** The processes that still work in it. */
  readonly processes: string[];
}

/**
 * Runs the demo as `npm run demo` does after the build, and interrupts it when it prints `interruptAt`. Not through
 * the `tsx` command: on a busy machine that kills what has not answered a signal within 30 ms.
 */
async function runDemo(environment: Record<string, string> = {}, interruptAt?: string): Promise<Demo> {
  const directory = await makeDataDir();
  onTestFinished(() => removeDataDir(directory));
  const demo = spawn(process.execPath, ['--import', 'tsx', 'examples/demo.ts'], {
    cwd: root,
    env: { ...process.env, TMPDIR: directory, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  demo.stdout.on('data', (chunk: Buffer) => {
    if (interruptAt && chunk.includes(interruptAt)) demo.kill('SIGINT');
  });
  const [output, [exitCode]] = await Promise.all([text(demo.stdout), once(demo, 'exit')]);
  // tsx keeps what it compiled in the temporary directory.
  const files = (await readdir(directory)).filter((file) => !file.startsWith('tsx-'));
  return { exitCode, output, files, processes: await processesOf(directory) };
}

/** Parley has the directory in its environment, Postgres in its arguments. Knows of none where there is no /proc. */
async function processesOf(directory: string): Promise<string[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const read = (pid: string, file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
  const commands = await Promise.all(
    pids.map(async (pid) => {
      const command = await read(pid, 'cmdline');
      return `${command}${await read(pid, 'environ')}`.includes(directory) ? [command] : [];
    }),
  );
  return commands.flat();
}

describe('npm run demo', { timeout: DEMO_MS }, () => {
  it('closes the loop with the documented email, says each step, and leaves nothing behind', async () => {
    const { exitCode, output, files, processes } = await runDemo();

    const steps = ['sent', 'stored', 'signalled', 'answered', 'delivered', 'seen live'];
    for (const step of steps) expect(output).toMatch(new RegExp(`^ *\\d+ ms ${step} .+`, 'm'));
    expect(output).toContain('gets "Re: Hello, how are you?" for participant_123@example.com');
    expect(output).toContain('The loop is closed.');
    expect({ exitCode, files, processes }).toEqual({ exitCode: 0, files: [], processes: [] });
  });

  it('exits with 1 and the reason when the webhook cannot be reached', async () => {
    const { exitCode, output, files, processes } = await runDemo({
      DEMO_WEBHOOK_URL: 'http://127.0.0.1:9/',
      DEMO_TIMEOUT_SECONDS: '5',
    });

    expect(output).toContain('The loop did not close: after 5 s it is not delivered.');
    expect(output).toContain('connection_failed');
    expect({ exitCode, files, processes }).toEqual({ exitCode: 1, files: [], processes: [] });
  });

  it.each(['Starting a Parley', 'Workflow'])('cleans up when it is interrupted at "%s"', async (line) => {
    const { exitCode, output, files, processes } = await runDemo({}, line);

    expect(output).toContain('The loop did not close: interrupted');
    expect({ exitCode, files, processes }).toEqual({ exitCode: 1, files: [], processes: [] });
  });
});

describe('the examples', () => {
  it('send the email of the conversations document, to the letter', async () => {
    const email = await readFile(`${root}/examples/inbound-email.json`, 'utf8');
    const document = await readFile(`${root}/test/fixtures/conversations-api.md`, 'utf8');
    expect(document).toContain(`\`\`\`json\n${email}\`\`\``);
  });

  it('use public packages only', async () => {
    const files = (await readdir(`${root}/examples`)).filter((file) => file.endsWith('.ts'));
    for (const file of files) {
      const source = await readFile(`${root}/examples/${file}`, 'utf8');
      const imports = [...source.matchAll(/ from '([^']+)'/g)].map(([, name]) => name);
      expect(imports.filter((name) => name?.startsWith('..'))).toEqual([]);
    }
  });
});
