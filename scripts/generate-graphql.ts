import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codegen } from '@graphql-codegen/core';
import * as typescriptPlugin from '@graphql-codegen/typescript';
import * as resolversPlugin from '@graphql-codegen/typescript-resolvers';
import { concatAST, parse } from 'graphql';
import { eventTypes } from '../src/events/append.js';
import { readSdl } from './sdl.js';

/**
 * Makes of the SDL what the program needs of it: the text itself as a module, so that nothing is read from
 * disk at start, and the types that every resolver is checked against.
 */
const outputDir = 'src/generated';

const sources = readSdl();

/** What services give for a type; fields that it lacks have resolvers. */
const parents = {
  ApiKey: '../services/api-keys.js#ApiKey',
  Tenant: '../services/api-keys.js#Tenant',
  Thread: '../services/threads.js#Thread',
  Message: '../services/message-heads.js#MessageHead',
  MessageLog: '../services/message-heads.js#MessageLogEntry',
  MessagePayload: '../services/messages.js#MessageReference',
  Event: '../services/events.js#Event',
  MessageEvent: '../events/log.js#LogEvent',
  ThreadEvent: '../events/log.js#LogEvent',
  WorkflowConversationEvent: '../events/log.js#LogEvent',
  WorkflowConversation: '../services/workflow-conversations.js#WorkflowConversation',
  AgentProduct: '../services/agent-products.js#AgentProduct',
  AgentProductRun: '../services/agent-product-runs.js#RunHead',
  Webhook: '../services/webhooks.js#Webhook',
  WorkflowHandler: '../services/workflow-handlers.js#WorkflowHandler',
  WebhookDelivery: '../services/deliveries/deliveries.js#Delivery',
  Signal: '../services/deliveries/deliveries.js#Delivery',
  DeliveryAttempt: '../services/deliveries/deliveries.js#DeliveryAttempt',
};

const mappers = Object.fromEntries(
  Object.entries(parents).map(([name, type]) => [name, `${type} as ${name}Parent`]),
);

/** Inside Parley enums have the values of the database and of REST; the SDL's are in capitals. */
const enums: Record<string, Record<string, string>> = {
  ...Object.fromEntries(
    [
      ['ThreadStatus', 'ACTIVE', 'ARCHIVED', 'CLOSED'],
      ['MessageDirection', 'INBOUND', 'OUTBOUND'],
      ['MessageStatus', 'SENT', 'DELIVERED', 'READ', 'FAILED'],
      ['MessageLogEvent', 'CREATED', 'SENT', 'DELIVERED', 'READ', 'FAILED'],
      ['WebhookStatus', 'ENABLED', 'PAUSED', 'DISABLED'],
      ['DeliveryStatus', 'PENDING', 'DELIVERED', 'FAILED', 'CANCELLED'],
      ['WorkflowHandlerKind', 'HTTP', 'QUEUE'],
      ['OrderDirection', 'ASC', 'DESC'],
      [
        'AgentProductRunStatus',
        'READY',
        'RUNNING',
        'WAITING_ON_USER',
        'STOPPED',
        'COMPLETED',
        'FAILED',
        'CANCELLED',
      ],
    ].map(([name, ...values]) => [
      name,
      Object.fromEntries(values.map((value) => [value, value.toLowerCase()])),
    ]),
  ),
  EventType: Object.fromEntries(eventTypes.map((type) => [type.replace('.', '_').toUpperCase(), type])),
  ThreadOrderField: { UPDATED_AT: 'updatedAt', CREATED_AT: 'createdAt' },
};

const enumTypes = Object.entries(enums).map(([name, values]) => [
  name,
  Object.values(values)
    .map((value) => `'${value}'`)
    .join(' | '),
]);

const output = await codegen({
  filename: join(outputDir, 'resolvers.ts'),
  documents: [],
  schema: concatAST(sources.map((source) => parse(source))),
  plugins: [{ typescript: {} }, { resolvers: {} }],
  pluginMap: { typescript: typescriptPlugin, resolvers: resolversPlugin },
  config: {
    useTypeImports: true,
    enumsAsTypes: true,
    contextType: '../resolvers/context.js#GraphQLContext',
    scalars: {
      ID: { input: 'string', output: 'string' },
      DateTime: { input: 'Date', output: 'Date' },
      JSONObject: { input: 'Record<string, unknown>', output: 'unknown' },
      SafeInt: { input: 'number', output: 'number' },
    },
    mappers: { ...mappers, ...Object.fromEntries(enumTypes) },
    enumValues: enums,
    noSchemaStitching: true,
  },
});

mkdirSync(outputDir, { recursive: true });
writeFileSync(join(outputDir, 'resolvers.ts'), output);
writeFileSync(
  join(outputDir, 'type-defs.ts'),
  `export const typeDefs = ${JSON.stringify(sources.join('\n'))};\n\nexport const enumResolvers = ${JSON.stringify(enums)} as const;\n`,
);
