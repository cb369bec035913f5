import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';

/** What Parley posts to a workflow for each inbound message. */
export interface Signal {
  readonly signalName: 'InboundConversationMessage';
  readonly threadId: string;
  readonly messageId: string;
  readonly tenantId: string;
  readonly workflowId: string;
  readonly channel: string;
  readonly channelKey: string;
  readonly participantId: string;
  readonly receivedAt: string;
  readonly content: Record<string, unknown>;
  readonly direction: 'inbound';
  readonly metadata: Record<string, unknown>;
}

/** What Parley says once the answer is stored. */
export interface Stored {
  readonly threadId: string;
  readonly messageId: string;
  readonly position: number;
  readonly createdAt: string;
}

export interface HandlerOptions {
  /** Where Parley is: `http://127.0.0.1:4000`. */
  readonly parleyUrl: string;
  /** A key with the scope `conversations:write`. */
  readonly apiKey: string;
  /** What Parley showed when the handler was registered, or what you gave it then. */
  readonly secret: string;
  /** 0: any free port. */
  readonly port?: number;
  /** The workflow itself: the content of the answer, shaped for the channel of the signal. */
  readonly answer: (signal: Signal) => object | Promise<object>;
  readonly onAnswered?: (stored: Stored) => void;
}

/** An agent workflow as Parley sees it: takes signals, checks them, and answers through the outbound API. */
export async function startWorkflowHandler(options: HandlerOptions) {
  // For a secret of your own that is not whsec_…: new Webhook(secret, { format: 'raw' })
  const webhook = new Webhook(options.secret);

  async function handle(request: IncomingMessage): Promise<void> {
    // The signature is over the bytes as they came: verify first, parse afterwards (verify does both).
    const verified = webhook.verify(await text(request), request.headers as Record<string, string>);
    const signal = verified as Signal;
    const content = await options.answer(signal);
    const response = await fetch(`${options.parleyUrl}/api/agent/conversations/outbound`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${options.apiKey}`,
        'content-type': 'application/json',
        // A signal comes at least once, so perhaps twice; under this key only the first answer is stored.
        'idempotency-key': `answer-to-${signal.messageId}`,
      },
      body: JSON.stringify({ threadId: signal.threadId, content }),
    });
    if (response.status === 409) return; // answered before, in other words
    if (!response.ok) throw new Error(`Parley answered ${response.status}: ${await response.text()}`);
    options.onAnswered?.((await response.json()) as Stored);
  }

  const server = createServer((request, response) => {
    handle(request).then(
      () => response.writeHead(200).end(), // done: the next signal of the thread may come
      (error: Error) =>
        response.writeHead(error instanceof WebhookVerificationError ? 401 : 500).end(error.message),
    );
  });
  await once(server.listen(options.port ?? 0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

// SIGNAL_SECRET=whsec_… PARLEY_API_KEY=parley_… npx tsx examples/workflow-handler.ts
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { PARLEY_URL = 'http://127.0.0.1:4000', PARLEY_API_KEY, SIGNAL_SECRET, PORT = '5001' } = process.env;
  if (!PARLEY_API_KEY || !SIGNAL_SECRET) throw new Error('Set PARLEY_API_KEY and SIGNAL_SECRET');
  const { url } = await startWorkflowHandler({
    parleyUrl: PARLEY_URL,
    apiKey: PARLEY_API_KEY,
    secret: SIGNAL_SECRET,
    port: Number(PORT),
    answer: ({ content }) => ({ body: `You said: ${content.body ?? content.subject ?? content.transcript}` }),
    onAnswered: (stored) => console.log('answered', stored),
  });
  console.log(`Handling signals at ${url}`);
}
