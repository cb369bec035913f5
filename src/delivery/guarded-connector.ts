import { lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { buildConnector } from 'undici';
import type { TargetGuard } from './target-guard.js';

/** Why an attempt failed, as it is stored with it. */
export type AttemptError =
  | 'timeout'
  | 'connection_failed'
  | 'connection_reset'
  | 'dns_failed'
  | 'tls_error'
  | 'forbidden_address'
  | 'redirect_refused'
  | 'invalid_response'
  | 'aborted'
  | `http_${number}`;

export interface ConnectorOptions {
  readonly guard: TargetGuard;
  readonly deadlineMs: number;
  /** Resolves names, with the signature of `dns.lookup`. Its answers are checked, whatever it is. */
  readonly lookup?: LookupFunction;
  /** PEM certificates that are trusted instead of the system's. */
  readonly certificateAuthorities?: string[];
}

/** A failure before there was a connection, with its class: the same codes mean other things later. */
export class DialError extends Error {
  constructor(
    readonly attemptError: AttemptError,
    cause?: unknown,
  ) {
    super(`Could not connect: ${attemptError}`, { cause });
  }
}

/**
 * Connects to checked addresses only. The check is here and not before, because what counts is the address that
 * is dialled: a name may have another one by the time of the connection, and Node asks no lookup for a literal.
 */
export function guardedConnector(options: ConnectorOptions): buildConnector.connector {
  const dial = buildConnector({
    timeout: options.deadlineMs,
    lookup: guardedLookup(options.guard, options.lookup ?? (systemLookup as LookupFunction)),
    autoSelectFamily: true,
    // Node's 250 ms gives up on a distant address too early.
    autoSelectFamilyAttemptTimeout: 1_000,
    // Said, so that NODE_TLS_REJECT_UNAUTHORIZED cannot take it back.
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    ca: options.certificateAuthorities,
  });
  return (target, callback) => {
    if (isIP(target.hostname) !== 0 && !options.guard.addressAllowed(target.hostname)) {
      process.nextTick(callback, new DialError('forbidden_address'), null);
      return;
    }
    dial(target, (error, socket) => {
      if (error === null) callback(null, socket);
      else callback(new DialError(dialErrorClass(error, target.protocol), error), null);
    });
  };
}

/** Hands on only the addresses that may be dialled; the connection is made to one of exactly these. */
function guardedLookup(guard: TargetGuard, lookup: LookupFunction): LookupFunction {
  return (hostname, lookupOptions, callback) => {
    lookup(hostname, { ...lookupOptions, all: true }, (error, found, family) => {
      if (error) return callback(new DialError('dns_failed', error), '');
      const addresses = Array.isArray(found) ? found : [{ address: found, family: family ?? isIP(found) }];
      const allowed = addresses.filter(({ address }) => guard.addressAllowed(address));
      const [first] = allowed;
      if (!first)
        return callback(new DialError(addresses.length > 0 ? 'forbidden_address' : 'dns_failed'), '');
      if (lookupOptions.all) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

/** The code of a system or library error, or an empty text. */
export const errorCode = (error: unknown): string => String((error as NodeJS.ErrnoException).code ?? '');

function dialErrorClass(error: Error, protocol: string): AttemptError {
  if (error instanceof DialError) return error.attemptError;
  const code = errorCode(error);
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return 'timeout';
  const { syscall } = error as NodeJS.ErrnoException;
  const unreachable = syscall === 'connect' || error instanceof AggregateError;
  if (protocol !== 'https:' || unreachable) return 'connection_failed';
  return code === 'ECONNRESET' || code === 'EPIPE' ? 'connection_reset' : 'tls_error';
}
