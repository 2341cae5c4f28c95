/**
 * Copies one stream to another and takes no more than the other takes. Unlike pipe() it tells whether it stands still
 * because of its reader or because there is nothing.
 */
export class Copy {
  /** Resolves when the source has ended or failed, or the sink is gone. */
  readonly done: Promise<void>;
  /** The sink takes nothing at the moment. */
  blocked = false;
  /** Chunks so far. */
  chunks = 0;

  constructor(source: NodeJS.ReadableStream, sink: NodeJS.WritableStream, onActivity: () => void = () => {}) {
    const finished = Promise.withResolvers<void>();
    this.done = finished.promise;
    const finish = (): void => finished.resolve();
    source.on("data", (chunk: Buffer) => {
      this.chunks += 1;
      onActivity();
      if (!sink.writable) {
        return;
      }
      if (!sink.write(chunk)) {
        this.blocked = true;
        source.pause();
      }
    });
    sink.on("drain", () => {
      this.blocked = false;
      source.resume();
    });
    source.once("end", finish);
    source.once("close", finish);
    source.once("error", finish);
    // A reader that has gone must not stop the process: what it writes from now on is thrown away.
    const discard = (): void => {
      this.blocked = false;
      source.resume();
      finish();
    };
    sink.once("close", discard);
    sink.once("error", discard);
  }
}
