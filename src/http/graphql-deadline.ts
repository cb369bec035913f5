import { type ExecutionResult, GraphQLError } from 'graphql';

/** Runs a read for so long at most; then it is answered with an error, and the signal that it was given aborts. */
export async function withinDeadline(
  timeoutMs: number,
  read: (signal: AbortSignal) => ExecutionResult | Promise<ExecutionResult>,
  onTimeout: () => void,
): Promise<ExecutionResult> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const outOfTime = new Promise<ExecutionResult>((resolve) => {
    timer = setTimeout(() => {
      onTimeout();
      controller.abort(new Error('The GraphQL request ran out of time'));
      resolve({ errors: [timeoutError(timeoutMs)] });
    }, timeoutMs);
  });
  try {
    return await Promise.race([read(controller.signal), outOfTime]);
  } finally {
    clearTimeout(timer);
  }
}

const timeoutError = (timeoutMs: number) =>
  new GraphQLError(`The request took longer than ${timeoutMs} ms and was stopped; ask for less at once`, {
    extensions: { code: 'TIMEOUT' },
  });
