import type { App } from './app.js';
import type { Config } from './config.js';

/** What a person sees at start: where everything is, the key, and one line to try. */
export function welcome({ url: localUrl, apiKey }: App, config: Config): string {
  const url = config.publicUrl ?? localUrl;
  if (config.role === 'worker') return `\nParley is running as a worker.\n\n  Health       ${url}/readyz\n\n`;
  const isGenerated = config.bootstrapApiKey === null && apiKey !== null;
  const key = isGenerated ? apiKey : '$BOOTSTRAP_API_KEY';
  const keyOrigin =
    apiKey === null ? 'as made before; BOOTSTRAP_API_KEY makes one' : 'as given in BOOTSTRAP_API_KEY';
  return `
Parley is running.

  REST         ${url}/api/agent/conversations
  Docs         ${url}/docs   (to read and try the REST routes; openapi.json beside it)
  GraphQL      ${url}/graphql   (GraphiQL in a browser; subscriptions over ${url.replace('http', 'ws')}/graphql)
  Health       ${url}/readyz
  Tenant       ${config.bootstrapTenantId}
  API key      ${isGenerated ? `${apiKey}   (kept in ${config.dataDir}/api-key)` : keyOrigin}
  Database     ${config.databaseUrl === null ? `embedded Postgres in ${config.dataDir}` : 'DATABASE_URL'}
  Deliveries   to public addresses${config.allowedTargetCidrs.length > 0 ? ` and ${config.allowedTargetCidrs.join(', ')}` : ' only'}

Try it:

  curl -s ${url}/api/agent/conversations/inbound -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -d '{"workflowId":"workflow_1","participantId":"participant_1","channel":"chat","channelKey":"participant_1","content":{"body":"Hello"}}'

Stop with Ctrl-C. \`npm run demo\` shows the whole loop, from an email to a verified webhook.

`;
}
