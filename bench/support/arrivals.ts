/** What takes longer does not arrive at all. */
const PATIENCE_MS = 30_000;

const NUMBER = 'number ';

/** Numbered messages ("number 7") on their way, each to as many places as were asked for. */
export class Arrivals {
  readonly #expected = new Map<number, { times: number[]; done: () => void }>();

  constructor(readonly ofEach: number) {}

  /**
   * Resolves with the times at which the message with this number has come to each of its places; with those that
   * there are when it takes too long.
   */
  expect(number: number): Promise<number[]> {
    return new Promise((resolve) => {
      const times: number[] = [];
      const done = () => {
        clearTimeout(patience);
        this.#expected.delete(number);
        resolve(times);
      };
      const patience = setTimeout(done, PATIENCE_MS);
      this.#expected.set(number, { times, done });
    });
  }

  /** Something has come; what has no number, or one that nobody expects, is nothing to us. */
  note(text: string): void {
    if (this.#expected.size === 0) return;
    const at = text.indexOf(NUMBER);
    if (at === -1) return;
    const expected = this.#expected.get(Number.parseInt(text.slice(at + NUMBER.length), 10));
    if (!expected) return;
    expected.times.push(performance.now());
    if (expected.times.length === this.ofEach) expected.done();
  }
}
