import { describe, expect, it } from 'vitest';
import { createTargetGuard } from '../../src/delivery/target-guard.js';

const guard = createTargetGuard({ allowedCidrs: [], requireHttps: false });
const special = 'must not point to a private or special address';
const notUrl = 'must be an absolute http or https URL';

describe('addresses', () => {
  it.each([
    '8.8.8.8',
    '93.184.216.34',
    '172.15.255.255',
    '172.32.0.1',
    '100.63.255.255',
    '100.128.0.0',
    '223.255.255.255',
    '2606:4700:4700::1111',
    '2a00:1450:4001:81b::200e',
    '::ffff:8.8.8.8',
    '64:ff9b::8.8.8.8',
  ])('%s is public and may be dialled', (address) => {
    expect(guard.addressAllowed(address)).toBe(true);
  });

  it.each([
    ['this network', '0.0.0.0'],
    ['this network', '0.1.2.3'],
    ['loopback', '127.0.0.1'],
    ['loopback', '127.255.255.254'],
    ['private', '10.0.0.1'],
    ['private', '172.16.0.1'],
    ['private', '172.31.255.255'],
    ['private', '192.168.1.1'],
    ['carrier-grade NAT', '100.64.0.1'],
    ['carrier-grade NAT, metadata of Alibaba Cloud', '100.100.100.200'],
    ['link-local', '169.254.0.1'],
    ['metadata of AWS, Google, Azure', '169.254.169.254'],
    ['metadata of Amazon ECS', '169.254.170.2'],
    ['metadata of Azure', '168.63.129.16'],
    ['metadata of Oracle Cloud, protocol assignments', '192.0.0.192'],
    ['documentation', '192.0.2.1'],
    ['documentation', '198.51.100.1'],
    ['documentation', '203.0.113.1'],
    ['6to4 relay', '192.88.99.1'],
    ['AS112', '192.175.48.1'],
    ['AMT', '192.52.193.1'],
    ['benchmarking', '198.18.0.1'],
    ['benchmarking', '198.19.255.255'],
    ['multicast', '224.0.0.1'],
    ['multicast', '239.255.255.255'],
    ['reserved', '240.0.0.1'],
    ['broadcast', '255.255.255.255'],
    ['unspecified', '::'],
    ['loopback', '::1'],
    ['loopback, written out', '0:0:0:0:0:0:0:1'],
    ['mapped loopback', '::ffff:127.0.0.1'],
    ['mapped loopback in hexadecimal', '::ffff:7f00:1'],
    ['mapped private', '::ffff:10.0.0.1'],
    ['mapped metadata', '::ffff:169.254.169.254'],
    ['mapped metadata of Azure', '::ffff:168.63.129.16'],
    ['compatible loopback', '::127.0.0.1'],
    ['compatible public', '::808:808'],
    ['translated loopback', '::ffff:0:127.0.0.1'],
    ['NAT64 of loopback', '64:ff9b::127.0.0.1'],
    ['NAT64 of metadata', '64:ff9b::a9fe:a9fe'],
    ['local-use NAT64', '64:ff9b:1::7f00:1'],
    ['local-use NAT64 of a public one', '64:ff9b:1::808:808'],
    ['6to4 of loopback', '2002:7f00:1::'],
    ['6to4 of a public one', '2002:808:808::1'],
    ['Teredo', '2001:0:7f00:1::1'],
    ['benchmarking', '2001:2::1'],
    ['ORCHID', '2001:20::1'],
    ['documentation', '2001:db8::1'],
    ['documentation', '3fff::1'],
    ['discard', '100::1'],
    ['dummy prefix', '100:0:0:1::1'],
    ['unique local', 'fc00::1'],
    ['metadata of AWS', 'fd00:ec2::254'],
    ['metadata of Google', 'fd20:ce::254'],
    ['link-local', 'fe80::1'],
    ['link-local with a zone', 'fe80::1%eth0'],
    ['public with a zone', '2606:4700:4700::1111%eth0'],
    ['site-local', 'fec0::1'],
    ['segment routing', '5f00::1'],
    ['multicast', 'ff02::1'],
    ['never given out', '4000::1'],
    ['not an address', 'example.com'],
    ['not an address', ''],
    ['not canonical', '010.8.8.8'],
    ['not canonical', '8.8'],
    ['not canonical', '134744072'],
  ])('%s: %s is refused', (_kind, address) => {
    expect(guard.addressAllowed(address)).toBe(false);
  });
});

describe('allowed CIDR blocks', () => {
  it.each([
    [['127.0.0.0/8'], '127.0.0.1', true],
    [['127.0.0.0/8'], '::ffff:127.0.0.1', true],
    [['127.0.0.0/8'], '::1', false],
    [['127.0.0.0/8'], '10.0.0.1', false],
    [['10.1.0.0/16', '::1/128'], '10.1.2.3', true],
    [['10.1.0.0/16', '::1/128'], '10.2.0.0', false],
    [['10.1.0.0/16', '::1/128'], '::1', true],
    [['::ffff:10.0.0.0/104'], '10.2.3.4', true],
    [['fd00::/8'], 'fd00:ec2::254', true],
    [['64:ff9b:1::/48'], '64:ff9b:1::7f00:1', true],
    [['169.254.169.254/32'], '169.254.169.254', true],
    [['10.0.0.0/8'], '8.8.8.8', true],
  ])('%j: %s is %s', (allowedCidrs, address, allowed) => {
    expect(createTargetGuard({ allowedCidrs, requireHttps: false }).addressAllowed(address)).toBe(allowed);
  });

  it.each(['10/8', '10.0.0.0', '10.0.0.0/33', '::/129', '0177.0.0.0/8', 'localhost/8', ''])(
    '%j is refused',
    (cidr) => {
      expect(() => createTargetGuard({ allowedCidrs: [cidr], requireHttps: false })).toThrow(
        'is not a CIDR block',
      );
    },
  );

  it('makes the URLs of its addresses acceptable, and localhost with loopback', () => {
    const local = createTargetGuard({ allowedCidrs: ['127.0.0.0/8'], requireHttps: false });
    expect(local.urlIssue('http://localhost:3000/hook')).toBeNull();
    expect(local.urlIssue('http://127.0.0.1:3000/hook')).toBeNull();
    expect(local.urlIssue('http://0x7f.1/hook')).toBeNull();
    expect(local.urlIssue('http://10.0.0.1/hook')).toBe(special);
  });
});

describe('URLs', () => {
  it.each([
    'https://example.com/webhook',
    'http://example.com',
    'HTTPS://EXAMPLE.COM:8443/a?b=c&d=%20',
    'https://münchen.example/',
    'https://8.8.8.8/',
    'https://[2606:4700:4700::1111]:443/',
    'https://notlocalhost/',
    'https://localhost.example.com/',
  ])('%s is fine', (url) => {
    expect(guard.urlIssue(url)).toBeNull();
  });

  it.each([
    'http://127.0.0.1/',
    'http://127.1/',
    'http://127.0.1/',
    'http://2130706433/',
    'http://0x7f000001/',
    'http://0x7F.0x0.0x0.0x1/',
    'http://0177.0.0.1/',
    'http://017700000001/',
    'http://127.0.0.1./',
    'http://%31%32%37.0.0.1/',
    'http://１２７.０.０.１/',
    'http://①②⑦.⓪.⓪.①/',
    'http://127。0。0。1/',
    'http://0/',
    'http://0.0.0.0/',
    'http://[::]/',
    'http://[::1]/',
    'http://[0:0:0:0:0:0:0:1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[::127.0.0.1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://[fe80::1]/',
    'http://[fd00:ec2::254]/',
    'http://169.254.169.254/latest/meta-data/',
    'http://2852039166/',
    'http://0xa9fea9fe/',
    'http://10.0.0.1/',
    'http://192.168.0.1:8080/',
    'http://localhost/',
    'http://LOCALHOST:3000/',
    'http://localhost./',
    'http://a.localhost/',
    'http://localhost.localdomain/',
  ])('%s points to a special address', (url) => {
    expect(guard.urlIssue(url)).toBe(special);
  });

  it.each([
    ['', notUrl],
    ['example.com', notUrl],
    ['/relative', notUrl],
    ['//example.com/', notUrl],
    ['ftp://example.com/', notUrl],
    ['file:///etc/passwd', notUrl],
    ['javascript:alert(1)', notUrl],
    ['https:example.com', notUrl],
    ['https://', notUrl],
    ['https://exa mple.com/', notUrl],
    [' https://example.com/', notUrl],
    ['https://example.com/\n', notUrl],
    ['https://exam\tple.com/', notUrl],
    ['https://example.com/\u0000', notUrl],
    ['https://example.com:99999/', notUrl],
    ['https://[::1/', notUrl],
    ['https://1.2.3.4.5.6.7/', notUrl],
    ['https://user:password@example.com/', 'must not contain credentials'],
    ['https://user@example.com/', 'must not contain credentials'],
    ['https://:password@example.com/', 'must not contain credentials'],
    ['https://example.com@127.0.0.1/', 'must not contain credentials'],
    ['https://example.com/#part', 'must not have a fragment, which is never sent'],
  ])('%j: %s', (url, issue) => {
    expect(guard.urlIssue(url)).toBe(issue);
  });

  it('may have 2048 characters and no more', () => {
    const longest = `https://example.com/${'a'.repeat(2028)}`;
    expect(guard.urlIssue(longest)).toBeNull();
    expect(guard.urlIssue(`${longest}a`)).toBe('must have at most 2048 characters');
  });

  it('must be https where that is required', () => {
    const strict = createTargetGuard({ allowedCidrs: [], requireHttps: true });
    expect(strict.urlIssue('http://example.com/')).toBe('must be an https URL');
    expect(strict.urlIssue('https://example.com/')).toBeNull();
  });
});
