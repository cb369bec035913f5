import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { startTemporaryParley } from './temporary-parley.js';
import { startWebhookReceiver } from './webhook-receiver.js';
import { startWorkflowHandler } from './workflow-handler.js';

/*
 * The main job, on a Parley of its own: npm run demo
 *   DEMO_TIMEOUT_SECONDS  how long the loop may take (30)
 *   DEMO_WEBHOOK_URL      registers this URL as the webhook, instead of the demo's own receiver
 */
const timeoutSeconds = Number(process.env.DEMO_TIMEOUT_SECONDS ?? 30);

const email = await readFile(new URL('./inbound-email.json', import.meta.url), 'utf8');

const SUBSCRIPTION = `subscription ($after: String) {
  messageAdded(after: $after) { message { position direction } }
}`;
const REGISTER_HANDLER = `mutation ($input: RegisterWorkflowHandlerInput!) {
  registerWorkflowHandler(input: $input) { workflowHandler { id } }
}`;
const RECORD = `{
  threads { edges { node { messages { edges { node {
    position direction status
    signal { status attempts { error } }
    deliveries { status attempts { error } }
  } } } } } }
}`;

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interrupted.abort(new Error('interrupted')));
}
/** Stops what was started, the last first. */
const stops: (() => unknown)[] = [];
const newSecret = () => `whsec_${randomBytes(32).toString('base64')}`;

async function demo(): Promise<void> {
  console.log('Starting a Parley of our own, with an empty database ...\n');
  const { url, apiKey, stop } = await startTemporaryParley(interrupted.signal);
  stops.push(stop);
  console.log(`  Parley     ${url}`);
  const post = async (path: string, body: string) => {
    const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };
    const response = await fetch(url + path, { method: 'POST', headers, body });
    const answer = await response.json();
    if (!response.ok || answer.errors) throw new Error(`${path} answered ${JSON.stringify(answer)}`);
    return answer;
  };
  const graphql = async (query: string, variables = {}) =>
    (await post('/graphql', JSON.stringify({ query, variables }))).data;

  // Each of these must happen, in whatever order, and prints itself with the time since the email was sent.
  const missing = new Set(['stored', 'signalled', 'answered', 'delivered', 'seen live']);
  let sentAt = 0;
  const print = (step: string, text: string) =>
    console.log(`${Math.round(performance.now() - sentAt)} ms`.padStart(9), step.padEnd(10), text);
  const happened = (step: string, text: string) => {
    print(step, text);
    missing.delete(step);
  };

  const signalSecret = newSecret();
  const workflow = await startWorkflowHandler({
    parleyUrl: url,
    apiKey,
    secret: signalSecret,
    answer({ workflowId, content }) {
      happened('signalled', `${workflowId} is told of "${content.subject}"; the signature is genuine`);
      return { subject: `Re: ${content.subject}`, body: 'Thank you for your message. I am well.' };
    },
    onAnswered: ({ position }) =>
      happened('answered', `the workflow's reply is stored at position ${position}`),
  });
  stops.push(workflow.close);
  await graphql(REGISTER_HANDLER, {
    input: { workflowId: 'workflow_123', kind: 'HTTP', url: workflow.url, secret: signalSecret },
  });
  console.log(`  Workflow   ${workflow.url} answers for workflow_123`);

  const webhookSecret = newSecret();
  const receiver = await startWebhookReceiver({
    secret: webhookSecret,
    onDelivery: ({ channelKey, content }) =>
      happened(
        'delivered',
        `the webhook gets "${content.subject}" for ${channelKey}; the signature is genuine`,
      ),
  });
  stops.push(receiver.close);
  const webhookUrl = process.env.DEMO_WEBHOOK_URL ?? receiver.url;
  const webhook = { url: webhookUrl, secret: webhookSecret, events: ['message.created'] };
  await post('/api/agent/conversations/outbound/webhook', JSON.stringify(webhook));
  console.log(`  Webhook    ${webhookUrl} gets what workflows reply`);

  const live = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${apiKey}` },
  });
  stops.push(() => live.dispose());
  // From this cursor on nothing is missed, however long the connection takes.
  const { eventCursor } = await graphql('{ eventCursor }');
  live.subscribe<{ messageAdded: { message: { position: number; direction: string } } }>(
    { query: SUBSCRIPTION, variables: { after: eventCursor } },
    {
      next({ data, errors }) {
        if (!data) return print('not seen', JSON.stringify(errors));
        const { position, direction } = data.messageAdded.message;
        const report = direction === 'OUTBOUND' ? happened : print;
        report('seen live', `message ${position} (${direction.toLowerCase()}) arrives at the subscription`);
      },
      error: (error) => print('not seen', String(error)),
      complete: () => {},
    },
  );
  console.log('  Dashboard  follows messageAdded, a GraphQL subscription\n');

  sentAt = performance.now();
  print('sent', 'an email comes in: POST /api/agent/conversations/inbound');
  const stored = await post('/api/agent/conversations/inbound', email);
  happened(
    'stored',
    `${stored.messageId} is committed, at position ${stored.position} of ${stored.threadId}`,
  );

  while (missing.size > 0) {
    if (performance.now() - sentAt > timeoutSeconds * 1_000) {
      const [thread] = (await graphql(RECORD)).threads.edges;
      const record = thread.node.messages.edges.map((edge: { node: object }) => JSON.stringify(edge.node));
      throw new Error(
        `after ${timeoutSeconds} s it is not ${[...missing].join(', ')}. Parley says of the messages:\n${record.join('\n')}`,
      );
    }
    await sleep(10);
    interrupted.signal.throwIfAborted();
  }
}

let failure: Error | null = null;
await demo().catch((error: Error) => {
  failure = error;
});
console.log(failure ? `\nThe loop did not close: ${(failure as Error).message}\n` : '\nThe loop is closed.');
for (const stop of stops.reverse()) await stop();
console.log('Everything is stopped, and its data removed.');
process.exit(failure ? 1 : 0);
