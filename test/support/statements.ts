import pg from 'pg';
import { vi } from 'vitest';

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/**
 * The statements that name a tenant, as all do that are run for a caller, while work is done in this process. That
 * a key was used is written down once a minute, whatever is asked for.
 */
export async function statementsOf(tenantId: string, work: () => Promise<unknown>): Promise<Statement[]> {
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  try {
    await work();
    return spy.mock.calls
      .map(([query]) => query as unknown as Partial<Statement> | undefined)
      .filter((query): query is Statement => typeof query?.text === 'string')
      .filter(({ values, text }) => values?.includes(tenantId) && !text.includes('"api_key"'));
  } finally {
    spy.mockRestore();
  }
}
