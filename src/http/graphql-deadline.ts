import { type ExecutionResult, GraphQLError } from 'graphql';

type Result = ExecutionResult | Promise<ExecutionResult>;

/**
 * Runs a read for so long at most; then it is answered with an error, and the signal that it was given aborts. What needs
 * no waiting needs no signal either, so that is made when it is asked for.
 */
export function withinDeadline(
  timeoutMs: number,
  read: (signal: () => AbortSignal) => Result,
  onTimeout: () => void,
): Result {
  let made: AbortController | undefined;
  const controller = () => {
    made ??= new AbortController();
    return made;
  };
  const result = read(() => controller().signal);
  if (!(result instanceof Promise)) return result;
  let timer: NodeJS.Timeout | undefined;
  const outOfTime = new Promise<ExecutionResult>((resolve) => {
    timer = setTimeout(() => {
      onTimeout();
      controller().abort(new Error('The GraphQL request ran out of time'));
      resolve({ errors: [timeoutError(timeoutMs)] });
    }, timeoutMs);
  });
  return Promise.race([result, outOfTime]).finally(() => clearTimeout(timer));
}

const timeoutError = (timeoutMs: number) =>
  new GraphQLError(`The request took longer than ${timeoutMs} ms and was stopped; ask for less at once`, {
    extensions: { code: 'TIMEOUT' },
  });
