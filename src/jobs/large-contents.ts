import { Semaphore } from 'async-mutex';

const MEGABYTE = 1024 * 1024;
const BYTES_OF_A_TENANT = 32 * MEGABYTE;
const BYTES = 96 * MEGABYTE;

/**
 * Keeps what this process holds of large contents small, in all and of one tenant: many large messages are sent a few
 * at a time. A single one may be larger than that.
 */
export class LargeContents {
  readonly #process = new Semaphore(BYTES);
  readonly #tenants = new Map<string, Semaphore>();

  /** Does work that holds a content of so many bytes, when there is room for it. */
  async withRoomFor<T>(tenantId: string, bytes: number, work: () => Promise<T>): Promise<T> {
    const tenant = this.#tenants.get(tenantId) ?? new Semaphore(BYTES_OF_A_TENANT);
    this.#tenants.set(tenantId, tenant);
    try {
      return await tenant.runExclusive(
        () => this.#process.runExclusive(work, Math.min(bytes, BYTES)),
        Math.min(bytes, BYTES_OF_A_TENANT),
      );
    } finally {
      if (tenant.getValue() === BYTES_OF_A_TENANT) this.#tenants.delete(tenantId);
    }
  }
}
