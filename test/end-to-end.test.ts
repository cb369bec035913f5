import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApp, type TestApp } from './support/app.js';
import { startReceiver } from './support/receiver.js';
import { connect, subscribe } from './support/subscriber.js';

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

/** The JSON example of the conversations document, verbatim, that stands under this heading. */
const documented = (heading: string) => {
  const document = readFileSync(new URL('./fixtures/conversations-api.md', import.meta.url), 'utf8');
  const [, after = ''] = document.split(`#### ${heading}`);
  return JSON.parse(/```json\n([\s\S]*?)```/.exec(after)?.[1] ?? '');
};

describe('the main job', () => {
  it('takes the documented email in, signals the workflow, and delivers its answer to the webhook, live', async () => {
    const client = await app.tenant();
    const webhookReceiver = await startReceiver();
    const handler = await startReceiver();
    const registered = await client.rest('POST', '/outbound/webhook', {
      url: webhookReceiver.url,
      events: ['message.created'],
    });
    expect(registered.status).toBe(200);
    const { registerWorkflowHandler } = await client.data(
      `mutation ($input: RegisterWorkflowHandlerInput!) { registerWorkflowHandler(input: $input) { secret } }`,
      { input: { workflowId: 'workflow_123', kind: 'HTTP', url: handler.url } },
    );
    const live = await subscribe(
      connect(app.url, client.apiKey),
      'subscription { messageAdded { sequence message { id position } } }',
    );

    const inbound = documented('POST api/agent/conversations/inbound');
    const stored = await client.rest('POST', '/inbound', inbound);
    expect(stored.status).toBe(200);
    expect(stored.body).toEqual({
      threadId: expect.stringMatching(/^thread_[0-9a-z]{26}$/),
      messageId: expect.stringMatching(/^message_[0-9a-z]{26}$/),
      position: 1,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    });

    const [signal] = await handler.waitFor(1);
    expect(
      new Webhook(registerWorkflowHandler.secret).verify(signal!.bytes, signal!.headers as never),
    ).toBeTruthy();
    expect(signal!.body).toEqual({
      signalName: 'InboundConversationMessage',
      threadId: stored.body.threadId,
      messageId: stored.body.messageId,
      tenantId: client.tenantId,
      workflowId: 'workflow_123',
      channel: 'email',
      channelKey: 'participant_123@example.com',
      participantId: 'participant_123',
      receivedAt: stored.body.createdAt,
      content: {
        ...inbound.content,
        attachments: [
          {
            filename: 'test.txt',
            contentType: 'text/plain',
            contentId: 'attachment_123',
            id: expect.stringMatching(/^attachment_[0-9a-z]{26}$/),
            size: 14,
            url: expect.stringContaining(`${app.url}/api/agent/conversations/attachments/attachment_`),
          },
        ],
      },
      direction: 'inbound',
      metadata: { source: 'email_server', priority: 'normal' },
    });

    const content = { subject: 'Re: Your inquiry', body: 'Thank you for your message.' };
    const sent = await client.rest('POST', '/outbound', {
      threadId: stored.body.threadId,
      content,
      metadata: { priority: 'high' },
    });
    expect(sent.body).toMatchObject({ threadId: stored.body.threadId, position: 2 });

    const [delivered] = await webhookReceiver.waitFor(1);
    expect(
      new Webhook(registered.body.secret).verify(delivered!.bytes, delivered!.headers as never),
    ).toBeTruthy();
    expect(delivered!.body).toEqual({
      event: 'message.created',
      threadId: stored.body.threadId,
      messageId: sent.body.messageId,
      tenantId: client.tenantId,
      workflowId: 'workflow_123',
      participantId: 'participant_123',
      channel: 'email',
      channelKey: 'participant_123@example.com',
      content,
      direction: 'outbound',
      status: 'sent',
      metadata: { priority: 'high' },
      timestamp: sent.body.createdAt,
      signature: expect.stringMatching(/^[0-9a-f]{64}$/),
    });

    const events = await live.waitFor(2);
    expect(events.map(({ data }) => data.messageAdded.message)).toEqual([
      { id: stored.body.messageId, position: 1 },
      { id: sent.body.messageId, position: 2 },
    ]);
  });
});
