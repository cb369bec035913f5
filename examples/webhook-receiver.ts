import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';

/** What Parley posts to a webhook about an outbound message. */
export interface Delivery {
  readonly event: string;
  readonly threadId: string;
  readonly messageId: string;
  readonly tenantId: string;
  readonly workflowId: string;
  readonly participantId: string;
  readonly channel: string;
  readonly channelKey: string;
  readonly content: Record<string, unknown>;
  readonly direction: 'outbound';
  readonly status: string;
  readonly metadata: Record<string, unknown>;
  readonly timestamp: string;
}

export interface ReceiverOptions {
  /** What Parley showed when the webhook was registered, or what you gave it then. */
  readonly secret: string;
  /** 0: any free port. */
  readonly port?: number;
  /** Do the work here, such as sending the email. When it throws, Parley delivers again later. */
  readonly onDelivery: (delivery: Delivery, id: string) => void | Promise<void>;
}

/** A webhook of Parley: believes only what is signed, works on each delivery once, then says 200. */
export async function startWebhookReceiver({ secret, port = 0, onDelivery }: ReceiverOptions) {
  // For a secret of your own that is not whsec_…: new Webhook(secret, { format: 'raw' })
  const webhook = new Webhook(secret);
  // Parley delivers at least once. Here a Set remembers what is done; yours should outlive the process.
  const done = new Set<string>();

  async function receive(request: IncomingMessage): Promise<void> {
    // The signature is over the bytes as they came: verify first, parse afterwards (verify does both).
    const delivery = webhook.verify(await text(request), request.headers as Record<string, string>);
    const id = String(request.headers['webhook-id']);
    if (done.has(id)) return;
    await onDelivery(delivery as Delivery, id);
    done.add(id);
  }

  const server = createServer((request, response) => {
    receive(request).then(
      () => response.writeHead(200).end(),
      (error: Error) =>
        response.writeHead(error instanceof WebhookVerificationError ? 401 : 500).end(error.message),
    );
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

// WEBHOOK_SECRET=whsec_… PORT=5002 npx tsx examples/webhook-receiver.ts
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { WEBHOOK_SECRET: secret, PORT = '5002' } = process.env;
  if (!secret) throw new Error('Set WEBHOOK_SECRET to the secret that the registration answered with');
  const { url } = await startWebhookReceiver({
    secret,
    port: Number(PORT),
    onDelivery: (delivery, id) => console.log(id, delivery),
  });
  console.log(`Receiving webhooks at ${url}`);
}
