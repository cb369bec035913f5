import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../src/config.js';
import { restRoutes } from '../src/rest-compat/routes.js';

const fileUrl = (file: string) => new URL(`../${file}`, import.meta.url);
const read = (file: string) => readFileSync(fileUrl(file), 'utf8');
const readme = read('README.md');
const envExample = read('.env.example');

/** All that the pattern's first group matches, sorted, each once. */
const all = (text: string, pattern: RegExp) =>
  [...new Set([...text.matchAll(pattern)].map(([, found]) => found ?? ''))].sort();

/** A chapter of a Markdown document, from its heading to the next of the same level. */
function chapter(document: string, heading: string): string {
  const [, after] = document.split(`\n## ${heading}\n`);
  if (after === undefined) throw new Error(`There is no chapter "${heading}"`);
  return after.split('\n## ')[0] ?? '';
}

describe('the settings', () => {
  const config = read('src/config.ts');
  const settings = [
    ...all(config, /^ {2}([A-Z][A-Z_]+): /gm),
    ...all(config, /\benvironment\.([A-Z][A-Z_]+)/g),
  ].sort();

  it('are all in the README, and no others', () => {
    expect(settings).toContain('DATABASE_URL');
    expect(all(chapter(readme, 'Configuration'), /^\| `([A-Z_]+)`/gm)).toEqual(settings);
  });

  it('are all in .env.example, and no others', () => {
    expect(all(envExample, /^#?([A-Z][A-Z_]+)=/gm)).toEqual(settings);
  });

  it('have their defaults in .env.example', () => {
    const given = [...envExample.matchAll(/^#([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name, value]);
    expect(parseConfig(Object.fromEntries(given))).toEqual(parseConfig({}));
  });

  it('have the same defaults in the README', () => {
    for (const [, name, value] of envExample.matchAll(/^#([A-Z_]+)=(.+)$/gm)) {
      expect(readme.replace(/ +/g, ' ')).toContain(`| \`${name}\` | \`${value}\``);
    }
  });
});

describe('the scripts', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

  it.each(['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', '.env.example'])(
    'that %s names exist',
    (document) => {
      const names = all(read(document), /\bnpm (?:run )?((?<=run )[\w:-]+|start\b|test\b)/g);
      expect(names.length).toBeGreaterThan(0);
      expect(names.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
    },
  );
});

describe('the REST routes', () => {
  const base = '/api/agent/conversations';
  const routes = restRoutes
    .map(({ method, path }) => `${method} ${path.replace(base, '').replace(/:(\w+)/g, '{$1}')}`)
    .sort();

  it('are all in the README, and no others', () => {
    expect(all(chapter(readme, 'REST'), /^\| `((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`/gm)).toEqual(routes);
  });
});

describe('the documents', () => {
  it.each(['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'])(
    'link only to files that exist: %s',
    (document) => {
      const links = all(read(document), /\]\((?!https?:)([^)#]+)/g);
      expect(links.filter((link) => !existsSync(fileUrl(link)))).toEqual([]);
    },
  );
});
