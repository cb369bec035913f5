const email = {
  workflowId: 'workflow_123',
  participantId: 'participant_123',
  channel: 'email',
  channelKey: 'participant_123@example.com',
  content: {
    mailId: 'mail_123',
    subject: 'Hello, how are you?',
    body: 'Hello, how are you?',
    cc: ['test@example.com'],
    bcc: ['test2@example.com'],
    attachments: [
      {
        filename: 'test.txt',
        contentType: 'text/plain',
        contentId: 'attachment_123',
        data: 'base64-encoded-data',
      },
    ],
  },
  metadata: { source: 'email_server', priority: 'normal' },
};

const from = { workflowId: email.workflowId, participantId: email.participantId };
const reply = {
  subject: 'Re: Your inquiry',
  body: "Thank you for your message. Here's the information you requested...",
};

const webhookBody = {
  threadId: 'thread_123',
  tenantId: 'tenant_123',
  workflowId: 'workflow_123',
  participantId: 'participant_123',
  channel: 'email',
  channelKey: 'participant_123@example.com',
  content: reply,
  direction: 'outbound',
  metadata: { priority: 'high' },
  timestamp: '2023-01-01T12:00:00Z',
  signature: 'hmac-sha256-signature',
};

/** Examples of bodies, by the name of their schema. Those called `documented` are the conversations document's own. */
export const examples: Record<string, Record<string, object>> = {
  InboundMessageInput: {
    documented: email,
    chat: { ...from, channel: 'chat', channelKey: 'participant_123', content: { body: 'Hello' } },
    sms: { ...from, channel: 'sms', channelKey: '+15550100', content: { body: 'Hello' } },
    voice: { ...from, channel: 'voice', channelKey: '+15550100', content: { transcript: 'Hello' } },
    other: { ...from, channel: 'fax', channelKey: '+15550100', content: { pages: 2 } },
  },
  OutboundMessageInput: {
    toThread: {
      threadId: 'thread_01m7yatrq7fesb3prjjasnfwn4',
      content: reply,
      metadata: { priority: 'high' },
    },
    toParticipant: { ...from, channel: 'email', channelKey: email.channelKey, content: reply },
  },
  ThreadUpdate: {
    documented: { status: 'archived', metadata: { priority: 'high', category: 'support' } },
  },
  MessageStatusUpdate: {
    delivered: { status: 'delivered' },
    failed: { status: 'failed', details: { reason: 'mailbox full' } },
  },
  WebhookInput: {
    documented: {
      url: 'https://example.com/webhook',
      secret: 'your_secret_key_for_hmac_signing',
      events: ['message.created', 'message.updated'],
    },
  },
  ErrorAnswer: {
    documented: {
      error: {
        code: 'invalid_request',
        message: 'The request was invalid',
        details: [{ field: 'content', issue: 'Content is required for email channel' }],
      },
    },
  },
  MessageWebhookBody: {
    // With the members that Parley adds to the documented ones.
    documented: { event: 'message.created', messageId: 'message_123', status: 'sent', ...webhookBody },
  },
  ThreadWebhookBody: {
    updated: {
      event: 'thread.updated',
      threadId: 'thread_123',
      ...from,
      tenantId: 'tenant_123',
      status: 'archived',
      metadata: { priority: 'high', category: 'support' },
      timestamp: '2023-01-01T12:00:00Z',
      signature: 'hmac-sha256-signature',
    },
  },
  TestWebhookBody: {
    test: {
      event: 'webhook.test',
      webhookId: 'webhook_123',
      tenantId: 'tenant_123',
      timestamp: '2023-01-01T12:00:00Z',
      signature: 'hmac-sha256-signature',
    },
  },
  WorkflowSignal: {
    documented: {
      signalName: 'InboundConversationMessage',
      threadId: 'thread_123',
      messageId: 'message_123',
      tenantId: 'tenant_123',
      workflowId: 'workflow_123',
      channel: 'email',
      channelKey: 'participant_123@example.com',
      participantId: 'participant_123',
      receivedAt: '2023-01-01T12:00:00Z',
      content: reply,
      direction: 'inbound',
      metadata: { priority: 'high' },
    },
  },
};
