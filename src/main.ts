import './environment.js';
import { createApp } from './app.js';
import { ConfigError, parseConfig } from './config.js';
import { createLog } from './log.js';
import { welcome } from './welcome.js';

async function main(): Promise<void> {
  const config = parseConfig(process.env);
  const log = createLog(config.logLevel);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.abort());

  const app = await createApp(config, log);
  process.stdout.write(welcome(app, config));
  if (!stop.signal.aborted) {
    await new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }));
  }

  log.info('stopping');
  await app.close();
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const isExpected = error instanceof ConfigError || process.env.LOG_LEVEL !== 'debug';
    process.stderr.write(
      `Parley could not start. ${isExpected ? (error as Error).message : (error as Error).stack}\n`,
    );
    process.exit(1);
  },
);
