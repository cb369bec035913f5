/** Counts what each key has open on this process. */
export interface ConnectionLimit {
  /** Takes a place and answers with how to give it back, once; undefined when the key has none left. */
  take(key: string): (() => void) | undefined;
}

/** @param limit places for each key; null: as many as it likes */
export function createConnectionLimit(limit: number | null): ConnectionLimit {
  const open = new Map<string, number>();

  return {
    take(key) {
      const count = open.get(key) ?? 0;
      if (limit !== null && count >= limit) return undefined;
      open.set(key, count + 1);
      let isTaken = true;
      return () => {
        if (!isTaken) return;
        isTaken = false;
        const left = (open.get(key) ?? 1) - 1;
        if (left > 0) open.set(key, left);
        else open.delete(key);
      };
    },
  };
}
