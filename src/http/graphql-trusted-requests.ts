import type { FastifyRequest } from 'fastify';
import { GraphQLError } from 'graphql';
import type { TrustedDocuments } from './graphql-trusted.js';

/**
 * Puts the document that a request refers to into the request, as if it had been sent in full; answers with an
 * error when no such document may run. What is no GraphQL request at all is left for Apollo to refuse.
 */
export function insertTrustedDocument(
  request: FastifyRequest,
  trusted: TrustedDocuments,
): GraphQLError | null {
  if (request.method === 'GET') {
    const url = new URL(request.url, 'http://localhost');
    const given = Object.fromEntries(url.searchParams);
    const document = trusted.find({ ...given, extensions: parseObject(given.extensions) });
    if (document instanceof GraphQLError) return document;
    url.searchParams.set('query', document);
    url.searchParams.delete('extensions');
    request.raw.url = url.pathname + url.search;
    return null;
  }
  const { body } = request;
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return null;
  const document = trusted.find(body as Record<string, unknown>);
  if (document instanceof GraphQLError) return document;
  request.body = { ...body, query: document, extensions: null };
  return null;
}

function parseObject(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
