import type { z } from 'zod';
import { knownContent } from '../services/content.js';
import { errorAnswer, errorStatuses } from './error-answers.js';
import { answerHeaders } from './headers.js';
import { errorResponse, isSchema, operationOf } from './openapi-operations.js';
import { componentsOf, type Json, jsonContent, nameOf } from './openapi-schemas.js';
import type { RestRoute } from './route.js';
import { attachment, emailContent } from './schema-parts.js';
import { logEvent } from './schemas.js';
import { messageWebhookBody, signalBody, testWebhookBody, threadWebhookBody } from './sent-schemas.js';

const INTRODUCTION = `Conversations are the way the external world communicates with agent workflows. Adapters hand in what
participants write; workflows answer; webhooks and events tell what happened.

- The tenant is always that of the credential.
- Times are ISO 8601 with milliseconds and \`Z\`. Members that a request does not know are ignored; \`null\` counts as
  left out.
- Every answer has an \`X-Request-Id\`: the caller's own, or a new one.
- Every error has the same form. A path that does not exist is a 404, a method that a path does not take a 405
  (\`method_not_allowed\`, with \`Allow\`).`;

const tags: Record<RestRoute['tag'], string> = {
  Messages: 'Messages of participants and of workflows.',
  Threads: 'Conversations: one for each workflow and participant.',
  Attachments: 'The files of emails.',
  Events: 'What happens, as it happens.',
  Webhooks: 'Where events are posted to.',
};

/**
 * The OpenAPI 3.1 document of a table of routes. What it says of bodies, parameters and answers is made from the
 * schemas that parse them and that type them.
 * @param serverUrl where callers reach Parley
 */
export function openApiDocument(
  routes: readonly RestRoute[],
  { serverUrl, version }: { serverUrl: string; version: string },
): Json {
  const requestSchemas = [...routes.flatMap(({ body }) => body ?? []), ...Object.values(knownContent)];
  const answerSchemas = [
    ...routes.flatMap(({ answer }) => (isSchema(answer) ? answer : [])),
    ...[logEvent, errorAnswer, emailContent, attachment],
    ...[signalBody, messageWebhookBody, threadWebhookBody, testWebhookBody],
  ];
  const document = {
    openapi: '3.1.1',
    info: {
      title: 'Parley',
      version,
      summary: 'Conversations between the outside world and agent workflows.',
      description: INTRODUCTION,
    },
    servers: [{ url: serverUrl }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    paths: pathsOf(routes),
    webhooks: {
      message: sent('An outbound message', messageWebhookBody, 'Webhooks'),
      thread: sent('A thread', threadWebhookBody, 'Webhooks'),
      test: sent('A test', testWebhookBody, 'Webhooks'),
      InboundConversationMessage: sent(
        'An inbound message: the signal to a workflow handler',
        signalBody,
        'Messages',
      ),
    },
    components: {
      schemas: { ...componentsOf(requestSchemas, 'input'), ...componentsOf(answerSchemas, 'output') },
      responses: Object.fromEntries(
        Object.keys(errorStatuses).map((status) => [`Error${status}`, errorResponse(Number(status))]),
      ),
      headers: answerHeaders,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'An API key: `Authorization: Bearer <key>`.' },
        apiKey: { type: 'apiKey', in: 'header', name: 'X-Api-Key', description: 'An API key.' },
      },
    },
  };
  return JSON.parse(JSON.stringify(document).replaceAll('"#/$defs/', '"#/components/schemas/'));
}

function pathsOf(routes: readonly RestRoute[]): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return paths;
}

/** What Parley posts to a URL that was registered. */
function sent(summary: string, body: z.ZodType, tag: RestRoute['tag']): Json {
  return {
    post: {
      tags: [tag],
      operationId: `on${nameOf(body)}`,
      summary,
      description:
        'Signed by the Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, `webhook-signature`. It may come twice, under the same `webhook-id`.',
      security: [],
      requestBody: { required: true, content: jsonContent(body) },
      responses: {
        '2XX': { description: 'It is taken. Anything else is a failure, and it is sent again.' },
        '410': { description: 'The receiver wants no more: the webhook is disabled.' },
      },
    },
  };
}
