/** The turn of a lane: what it hears, while it is worked on, of bells, of what is done, and of the lanes around it. */
export class Turn {
  /** Whether lanes wait for the place that this one has. */
  readonly othersWait: () => boolean;
  #isRung = false;
  #wake = () => {};

  constructor(othersWait: () => boolean) {
    this.othersWait = othersWait;
  }

  ring(): void {
    this.#isRung = true;
    this.#wake();
  }

  /** Whether the lane was rung for since this was last asked. */
  hear(): boolean {
    const isRung = this.#isRung;
    this.#isRung = false;
    return isRung;
  }

  /** Resolves when the lane is rung for, or was and nobody has heard it. */
  rung(): Promise<void> {
    if (this.#isRung) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
