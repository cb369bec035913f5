import { notFound } from '../errors.js';
import { deleteWebhook, getWebhook, listAllWebhooks, registerWebhook } from '../services/webhooks.js';
import type { RestRequest } from './route.js';
import { webhookJson } from './shapes.js';

export async function postWebhook({ services, actor, body }: RestRequest) {
  const { webhook, secret } = await registerWebhook(services, actor, body);
  return { ...webhookJson(webhook), ...(secret !== null && { secret }) };
}

export async function getWebhooks({ services, actor }: RestRequest) {
  return { webhooks: (await listAllWebhooks(services, actor)).map(webhookJson) };
}

export async function getWebhookRoute({ services, actor, params }: RestRequest) {
  const webhook = await getWebhook(services, actor, params.id ?? '');
  if (!webhook) throw notFound('Webhook');
  return webhookJson(webhook);
}

export async function deleteWebhookRoute({ services, actor, params }: RestRequest) {
  return { id: await deleteWebhook(services, actor, params.id ?? ''), deleted: true };
}
