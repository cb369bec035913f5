/** An error as GraphQL answers have it, with Parley's extensions. */
export interface GraphQLFault {
  readonly message: string;
  readonly extensions?: {
    readonly code?: string;
    readonly details?: readonly FieldFault[];
  };
}

export interface FieldFault {
  readonly field: string;
  readonly issue: string;
}

/** What went wrong, in Parley's words. */
export class ParleyError extends Error {
  override readonly name = 'ParleyError';
  /** Such as `NOT_FOUND`. `UNREACHABLE` is ours: no answer came, so nobody knows what was done. */
  readonly code: string;
  /** What is wrong with which field of the input. */
  readonly details: readonly FieldFault[];
  /** Finds the request in Parley's log. */
  readonly requestId: string | null;

  constructor({ message, extensions }: GraphQLFault, requestId: string | null = null, cause?: unknown) {
    super(message, { cause });
    this.code = extensions?.code ?? 'UNKNOWN';
    this.details = extensions?.details ?? [];
    this.requestId = requestId;
  }
}

export const unreachable = (message: string, cause?: unknown): ParleyError =>
  new ParleyError({ message, extensions: { code: 'UNREACHABLE' } }, null, cause);

/** Whether an error has this code. */
export const hasCode = (error: unknown, ...codes: readonly string[]): boolean =>
  error instanceof ParleyError && codes.includes(error.code);

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
