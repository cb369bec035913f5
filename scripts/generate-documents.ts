import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { codegen } from '@graphql-codegen/core';
import * as typedDocumentNode from '@graphql-codegen/typed-document-node';
import * as typescriptOperations from '@graphql-codegen/typescript-operations';
import { buildSchema, parse, printSchema } from 'graphql';
import dashboard from '../examples/dashboard/codegen.js';
import { readSdl } from './sdl.js';

/**
 * Makes what callers and their tools begin with: `schema.graphql`, the whole SDL in one file, and from it the
 * typed documents of the example dashboard.
 */
const sdl = `${printSchema(buildSchema(readSdl().join('\n')))}\n`;
writeFileSync('schema.graphql', sdl);

const directory = 'examples/dashboard';
const location = join(directory, dashboard.documents);
const documents = [{ location, document: parse(readFileSync(location, 'utf8')) }];
for (const [file, { plugins, config }] of Object.entries(dashboard.generates)) {
  const filename = join(directory, file);
  const output = await codegen({
    filename,
    schema: parse(sdl),
    documents,
    plugins: plugins.map((name) => ({ [name]: {} })),
    pluginMap: {
      'typescript-operations': typescriptOperations,
      'typed-document-node': typedDocumentNode,
    },
    config,
  });
  mkdirSync(dirname(filename), { recursive: true });
  writeFileSync(filename, output);
}
