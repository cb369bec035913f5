import { spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import {
  bodyWithSignatureMember,
  generateSecret,
  secretIssue,
  signingKey,
  webhookHeaders,
} from '../../src/delivery/signing.js';

const documentedBody = {
  threadId: 'thread_123',
  tenantId: 'tenant_123',
  workflowId: 'workflow_123',
  participantId: 'participant_123',
  channel: 'email',
  channelKey: 'participant_123@example.com',
  content: {
    subject: 'Re: Your inquiry',
    body: "Thank you for your message. Here's the information you requested...",
  },
  direction: 'outbound',
  metadata: { priority: 'high' },
  timestamp: '2023-01-01T12:00:00Z',
};
const awkwardBody = {
  text: 'Grüße 🎉 "quoted" \\ / \u2028\u2029 \u007f \u0001 \b\f\n\r\t <&>',
  numbers: [0, -1, 1.5, 1e21, 12345678901234],
  nested: { signature: 'not mine', empty: {}, list: [] },
};
const secrets = [
  'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
  'your_secret_key_for_hmac_signing',
  'schlüssel-mit-ümlaut',
];
const hasPython = spawnSync('python3', ['--version']).status === 0;

/** Runs a Python script with JSON on its standard input, and gives back what it printed. */
function python(script: string, input: object): string {
  const run = spawnSync('python3', ['-c', script], { input: JSON.stringify(input), encoding: 'utf8' });
  if (run.status !== 0) throw new Error(run.stderr);
  return run.stdout.trim();
}

describe('webhook headers', () => {
  it('match the example of the Standard Webhooks reference libraries', () => {
    const headers = webhookHeaders({
      id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      timestampSeconds: 1614265330,
      body: '{"test": 2432232314}',
      secrets: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
    });
    expect(headers['webhook-signature']).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });

  for (const secret of [...secrets, generateSecret()]) {
    it(`satisfy the standardwebhooks package with the secret ${secret.slice(0, 10)}…`, () => {
      const body = Buffer.from(JSON.stringify(awkwardBody));
      const timestampSeconds = Date.now() / 1000;
      const headers = webhookHeaders({ id: 'delivery_1', timestampSeconds, body, secrets: [secret] });
      const receiver = secret.startsWith('whsec_')
        ? new Webhook(secret)
        : new Webhook(new TextEncoder().encode(secret), { format: 'raw' });
      expect(receiver.verify(body, headers)).toEqual(awkwardBody);
      expect(() => receiver.verify(`${body} `, headers)).toThrow('No matching signature');
    });
  }

  it('carry one signature per secret, so that both verify during a rotation', () => {
    const [before, after] = [generateSecret(), generateSecret()];
    const timestampSeconds = Math.floor(Date.now() / 1000);
    const headers = webhookHeaders({
      id: 'signal_1',
      timestampSeconds,
      body: '{}',
      secrets: [after, before],
    });
    expect(headers['webhook-signature'].split(' ')).toHaveLength(2);
    expect(new Webhook(before).verify('{}', headers)).toEqual({});
    expect(new Webhook(after).verify('{}', headers)).toEqual({});
    expect(() => new Webhook(generateSecret()).verify('{}', headers)).toThrow('No matching signature');
  });

  it('sign bytes that are not UTF-8 as they are', () => {
    const body = Uint8Array.from([0xff, 0x00, 0xc3]);
    const [secret] = secrets as [string];
    const signed = Buffer.concat([Buffer.from('delivery_1.5.'), body]);
    const expected = createHmac('sha256', signingKey(secret)).update(signed).digest('base64');
    const headers = webhookHeaders({ id: 'delivery_1', timestampSeconds: 5, body, secrets: [secret] });
    expect(headers['webhook-signature']).toBe(`v1,${expected}`);
  });

  it.skipIf(!hasPython)("verify with Python's standard library", () => {
    const body = JSON.stringify(awkwardBody);
    const [secret] = secrets as [string];
    const headers = webhookHeaders({
      id: 'delivery_1',
      timestampSeconds: 1_700_000_000,
      body,
      secrets: [secret],
    });
    const script = `
import base64, hashlib, hmac, json, sys
given = json.load(sys.stdin)
key = base64.b64decode(given["secret"].removeprefix("whsec_"))
headers = given["headers"]
signed = f'{headers["webhook-id"]}.{headers["webhook-timestamp"]}.{given["body"]}'.encode()
print("v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode())`;
    expect(python(script, { secret, headers, body })).toBe(headers['webhook-signature']);
  });
});

describe('the signature member', () => {
  it('is the last member and signs the compact JSON without it', () => {
    const [, secret] = secrets as [string, string];
    const sent = bodyWithSignatureMember(documentedBody, secret).toString();
    const { signature, ...rest } = JSON.parse(sent);
    expect(rest).toEqual(documentedBody);
    expect(Object.keys(JSON.parse(sent)).at(-1)).toBe('signature');
    expect(signature).toBe(createHmac('sha256', secret).update(JSON.stringify(rest)).digest('hex'));
  });

  it('replaces a signature that the body already has, and only at the top level', () => {
    const [, secret] = secrets as [string, string];
    const sent = bodyWithSignatureMember({ signature: 'forged', ...awkwardBody }, secret);
    expect(sent).toEqual(bodyWithSignatureMember(awkwardBody, secret));
    expect(JSON.parse(sent.toString()).nested.signature).toBe('not mine');
  });

  it('is the only member of an empty body', () => {
    const signature = createHmac('sha256', 'sixteen-letters!').update('{}').digest('hex');
    expect(bodyWithSignatureMember({}, 'sixteen-letters!').toString()).toBe(`{"signature":"${signature}"}`);
  });

  for (const secret of secrets) {
    it.skipIf(!hasPython)(
      `verifies with Python's standard library and the secret ${secret.slice(0, 10)}…`,
      () => {
        const body = bodyWithSignatureMember({ ...documentedBody, awkward: awkwardBody }, secret).toString(
          'base64',
        );
        const script = `
import base64, hashlib, hmac, json, sys
given = json.load(sys.stdin)
secret, body = given["secret"], base64.b64decode(given["body"])
key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
digest = lambda text: hmac.new(key, text, hashlib.sha256).hexdigest()
by_bytes = hmac.compare_digest(digest(body[:-80] + b"}"), body[-66:-2].decode())
parsed = json.loads(body)
signature = parsed.pop("signature")
compact = json.dumps(parsed, separators=(",", ":"), ensure_ascii=False).encode()
print(by_bytes, hmac.compare_digest(digest(compact), signature))`;
        expect(python(script, { secret, body })).toBe('True True');
      },
    );
  }
});

describe('secrets', () => {
  it('are generated with 32 random bytes', () => {
    const secret = generateSecret();
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(signingKey(secret)).toHaveLength(32);
    expect(secretIssue(secret)).toBeNull();
    expect(generateSecret()).not.toBe(secret);
  });

  it.each([
    ['your_secret_key_for_hmac_signing', null],
    ['x'.repeat(16), null],
    ['x'.repeat(255), null],
    ['🔑'.repeat(16), null],
    ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', null],
    ['x'.repeat(15), 'must have 16 to 255 characters'],
    ['x'.repeat(256), 'must have 16 to 255 characters'],
    ['whsec_', 'must have 16 to 255 characters'],
    ['whsec_not base64 at all', 'must hold padded standard base64 after whsec_'],
    ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS', 'must hold padded standard base64 after whsec_'],
    ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_', 'must hold padded standard base64 after whsec_'],
    [`${'x'.repeat(20)}\ud800`, 'must be well-formed Unicode'],
  ])('%j: %s', (secret, issue) => {
    expect(secretIssue(secret)).toBe(issue);
  });
});
