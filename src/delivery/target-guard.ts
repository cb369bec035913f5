import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Decides where requests on behalf of a tenant may go. */
export interface TargetGuard {
  /** What is wrong with a URL that somebody registers, or null. A name that resolves to a forbidden address shows
   * only when it is dialled, so every dial asks `addressAllowed` as well. */
  urlIssue(url: string): string | null;
  /** Whether this IP address, as the resolver or a URL gives it, may be dialled. Anything else is false. */
  addressAllowed(ip: string): boolean;
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Block = readonly [Address, number];

const LONGEST_URL = 2048;
const LOCALHOST = /(^|\.)localhost(\.localdomain)?\.?$/;
// ipaddr.js calls every range that it has no name for "unicast"; IANA has given out no other than this one, and
// what lies outside it is for instance the deprecated IPv4-compatible ::a.b.c.d.
const GLOBAL_IPV6: Block = ipaddr.parseCIDR('2000::/3');
const NAT64: Block = ipaddr.parseCIDR('64:ff9b::/96');
// Azure's metadata and DNS address is an ordinary public one by its number.
const AZURE_WIRE_SERVER = '168.63.129.16';

/**
 * A guard that lets through only public addresses: nothing private, loopback, link-local (the metadata services
 * are there), shared, reserved, multicast or otherwise special by the IANA registries (RFC 6890). `allowedCidrs`
 * win over all of that. Throws an Error if one of them is not a CIDR block.
 */
export function createTargetGuard(options: {
  allowedCidrs: readonly string[];
  requireHttps: boolean;
}): TargetGuard {
  const allowedBlocks = options.allowedCidrs.map(parseBlock);

  function addressAllowed(ip: string): boolean {
    // `isIP` first: ipaddr.js also reads octal, hexadecimal and shortened numbers. A zone (fe80::1%eth0) names an
    // interface of this machine, which is nobody's webhook.
    if (isIP(ip) === 0 || ip.includes('%')) return false;
    const address = ipaddr.parse(ip);
    const meant = embeddedIpv4(address) ?? address;
    return isPublic(meant) || allowedBlocks.some((block) => inBlock(meant, block) || inBlock(address, block));
  }

  function urlIssue(text: string): string | null {
    if (text.length > LONGEST_URL) return `must have at most ${LONGEST_URL} characters`;
    // The URL parser forgives blanks and missing slashes; what is stored should be what is dialled.
    if (!/^https?:\/\/[^\s\p{Cc}/\\][^\s\p{Cc}]*$/iu.test(text) || !URL.canParse(text)) {
      return 'must be an absolute http or https URL';
    }
    const url = new URL(text);
    if (options.requireHttps && url.protocol !== 'https:') return 'must be an https URL';
    if (url.username !== '' || url.password !== '') return 'must not contain credentials';
    if (text.includes('#')) return 'must not have a fragment, which is never sent';
    const hosts = literalAddresses(url.hostname);
    return hosts.length === 0 || hosts.some(addressAllowed)
      ? null
      : 'must not point to a private or special address';
  }

  return { urlIssue, addressAllowed };
}

/** The addresses that a URL's host stands for without asking DNS; none if it is an ordinary name. */
function literalAddresses(hostname: string): string[] {
  if (LOCALHOST.test(hostname)) return ['127.0.0.1', '::1'];
  const literal = hostname.replace(/^\[(.*)\]$/, '$1');
  return isIP(literal) === 0 ? [] : [literal];
}

function isPublic(address: Address): boolean {
  if (address.range() !== 'unicast') return false;
  return address instanceof ipaddr.IPv6
    ? inBlock(address, GLOBAL_IPV6)
    : address.toString() !== AZURE_WIRE_SERVER;
}

/** The IPv4 address that a packet to this IPv6 one reaches. 6to4 and Teredo are not here: they are refused whole. */
function embeddedIpv4(address: Address): ipaddr.IPv4 | null {
  if (!(address instanceof ipaddr.IPv6)) return null;
  if (!address.isIPv4MappedAddress() && !inBlock(address, NAT64)) return null;
  return new ipaddr.IPv4(address.toByteArray().slice(12));
}

function inBlock(address: Address, [network, prefixLength]: Block): boolean {
  return address.kind() === network.kind() && address.match(network, prefixLength);
}

function parseBlock(cidr: string): Block {
  // ipaddr.js reads 10/8 as 0.0.0.10/8, which is not what anybody means by it.
  const written = cidr.split('/')[0] ?? '';
  if (isIP(written) === 0 || !ipaddr.isValidCIDR(cidr)) throw new Error(`${cidr} is not a CIDR block`);
  const [network, prefixLength] = ipaddr.parseCIDR(cidr);
  const mapped = network instanceof ipaddr.IPv6 && network.isIPv4MappedAddress() && prefixLength >= 96;
  return mapped ? [network.toIPv4Address(), prefixLength - 96] : [network, prefixLength];
}
