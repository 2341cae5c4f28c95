/** Ends a session in which nothing has been sent for a while. Pings don't count: most clients send them for ever. */
export class IdleTimer {
  #last = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor(limitMs: number, onIdle: () => void) {
    // Looked at now and then instead of being set anew with every chunk.
    this.#timer = setInterval(
      () => {
        if (performance.now() - this.#last >= limitMs) {
          this.stop();
          onIdle();
        }
      },
      Math.max(limitMs / 10, 10),
    );
    this.#timer.unref();
  }

  readonly touch = (): void => {
    this.#last = performance.now();
  };

  stop(): void {
    clearInterval(this.#timer);
  }
}
