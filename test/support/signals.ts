import type { Client } from './app.js';
import { eventually } from './receiver.js';

/** Registers a workflow handler; answers with its id and the secret when that was generated. */
export async function registerHandler(client: Client, input: object) {
  const { registerWorkflowHandler } = await client.data(
    `mutation ($input: RegisterWorkflowHandlerInput!) {
       registerWorkflowHandler(input: $input) { secret workflowHandler { id kind url queue } }
     }`,
    { input: { workflowId: 'workflow_1', ...input } },
  );
  const { secret, workflowHandler } = registerWorkflowHandler;
  return { secret, ...workflowHandler };
}

/** Hands in one chat message. */
export async function receive(
  client: Client,
  text: string,
  participantId = 'participant_1',
  workflowId = 'workflow_1',
) {
  const { body } = await client.rest('POST', '/inbound', {
    workflowId,
    participantId,
    channel: 'chat',
    channelKey: participantId,
    content: { body: text },
  });
  return body as { messageId: string; threadId: string };
}

/** The signal of a message, with the message's status and log. */
export async function signalOf(client: Client, messageId: string) {
  const { message } = await client.data(
    `query ($id: ID!) {
       message(id: $id) {
         status logs { event details }
         signal { id status nextAttemptAt attempts { statusCode durationMs error responseBody } }
       }
     }`,
    { id: messageId },
  );
  return {
    ...message.signal,
    messageStatus: message.status,
    log: message.logs.map(({ event }: { event: string }) => event),
  };
}

/** Waits until the signal of a message has a status. */
export const signalBecomes = (client: Client, messageId: string, status: string, timeoutMs = 15_000) =>
  eventually(async () => (await signalOf(client, messageId)).status === status, {
    timeoutMs,
    describe: () => `the signal to become ${status}`,
  });
