import { readFile } from 'node:fs/promises';
import { GraphQLError } from 'graphql';
import { z } from 'zod';
import { ConfigError } from '../config.js';
import { type Documents, hashOf } from './graphql-documents.js';

/** The documents that may run, and how requests refer to them. */
export interface TrustedDocuments {
  /** The text of the listed document that a request refers to or brings; an error for any other request. */
  find(request: Readonly<Record<string, unknown>>): string | GraphQLError;
}

/** `{ "<id>": "<document>" }`, as graphql-codegen and Relay write it; or the manifest of Apollo's tools. */
const manifestSchema = z.union([
  z
    .object({
      format: z.literal('apollo-persisted-query-manifest'),
      operations: z.array(z.object({ id: z.string(), body: z.string() })),
    })
    .transform(({ operations }) => operations.map(({ id, body }) => [id, body] as const)),
  z.record(z.string(), z.string()).transform((documents) => Object.entries(documents)),
]);

/** @throws ConfigError for a manifest that cannot be read, and for every listed document that could not run */
export async function loadTrustedDocuments(path: string, documents: Documents): Promise<TrustedDocuments> {
  const refuse = (...faults: string[]) =>
    new ConfigError(faults.map((fault) => `TRUSTED_DOCUMENTS: ${fault}`));
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw refuse(`${path} cannot be read (${error.code})`);
  });
  const manifest = manifestSchema.safeParse(parseJson(text));
  if (!manifest.success) throw refuse(`${path} is not a JSON object of documents by their ids`);
  const faults: string[] = [];
  for (const [id, document] of manifest.data) {
    for (const fault of await faultsOf(document, documents)) {
      faults.push(`the document "${id}" is not valid: ${fault}`);
    }
  }
  if (faults.length > 0) throw refuse(...faults);

  const byId = new Map(manifest.data);
  for (const document of [...byId.values()]) byId.set(hashOf(document), document);
  return {
    find(request) {
      const { query } = request;
      if (typeof query === 'string' && query !== '') return byId.get(hashOf(query)) ?? untrusted();
      const id = idOf(request);
      return id === undefined ? untrusted() : (byId.get(id) ?? unknownId());
    },
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function faultsOf(text: string, documents: Documents): Promise<string[]> {
  const document = await documents.parse(text);
  const faults = document instanceof GraphQLError ? [document] : documents.findFaults(document);
  return faults.map(({ message }) => message);
}

/** `documentId` or `id` beside the query, or Apollo's `extensions.persistedQuery.sha256Hash`. */
function idOf(request: Readonly<Record<string, unknown>>): string | undefined {
  const { documentId, id, extensions } = request as Record<string, unknown>;
  const { persistedQuery } = (extensions ?? {}) as { persistedQuery?: { sha256Hash?: unknown } | null };
  return [documentId, id, persistedQuery?.sha256Hash].find((value) => typeof value === 'string');
}

const refusal = (message: string, code: string) => new GraphQLError(message, { extensions: { code } });

const unknownId = () =>
  refusal('This server runs trusted documents only, and none has this id', 'PERSISTED_QUERY_NOT_FOUND');

const untrusted = () =>
  refusal('This server runs trusted documents only, and this is none of them', 'DOCUMENT_NOT_TRUSTED');
