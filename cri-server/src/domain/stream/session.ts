import type { AttachSession, ExecSession, SessionStreams } from "../../ports/monitor.ts";
import { Copy } from "./copy.ts";

/** How a session ended, as its client is told. */
export type SessionOutcome =
  | { readonly kind: "exited"; readonly exitCode: number }
  | { readonly kind: "failed"; readonly message: string };

/** The client's end of an exec or attach session, whatever protocol it speaks. */
export interface ClientSession {
  readonly stdin: NodeJS.ReadableStream | undefined;
  readonly stdout: NodeJS.WritableStream | undefined;
  readonly stderr: NodeJS.WritableStream | undefined;
  onResize(listener: (columns: number, rows: number) => void): void;
  /** Resolves when the client is gone, for whatever reason. */
  readonly closed: Promise<void>;
  /** Ends the output streams, then tells the outcome, then closes. Resolves when the client has gone. */
  finish(outcome: SessionOutcome): Promise<void>;
}

/**
 * How long output may stay silent after the process has ended while something still holds it open: a process that was
 * left in the background keeps the pipe, and nobody knows for how long.
 */
const lingerMs = 300;

/** Reads and forgets, so that the writer never waits. That it breaks off interests nobody. */
function discard(source: NodeJS.ReadableStream): void {
  source.on("error", () => {});
  source.resume();
}

/** Copies what the client types. A process that reads no more, or has ended, makes the rest go nowhere. */
function feed(client: ClientSession, session: SessionStreams): void {
  const { stdin: source } = client;
  const { stdin: sink } = session;
  if (source === undefined) {
    sink?.end();
    return;
  }
  if (sink === undefined) {
    discard(source);
    return;
  }
  new Copy(source, sink);
  source.once("end", () => sink.end());
}

function collect(client: ClientSession, session: SessionStreams): readonly Copy[] {
  const pairs = [
    [session.stdout, client.stdout],
    [session.stderr, client.stderr],
  ] as const;
  return pairs.flatMap(([source, sink]) => {
    if (source === undefined) {
      return [];
    }
    if (sink === undefined) {
      discard(source);
      return [];
    }
    return [new Copy(source, sink)];
  });
}

function count(copies: readonly Copy[]): number {
  return copies.reduce((sum, copy) => sum + copy.chunks, 0);
}

/** Resolves when all output has been handed over, or stays silent although its reader would take it. */
async function drained(copies: readonly Copy[], gone: Promise<void>): Promise<void> {
  const all = Promise.all(copies.map((copy) => copy.done)).then(() => "all" as const);
  const left = gone.then(() => "all" as const);
  for (let seen = count(copies); ; ) {
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<"silence">((resolve) => {
      timer = setTimeout(() => resolve("silence"), lingerMs);
    });
    const first = await Promise.race([all, left, silence]);
    clearTimeout(timer);
    const chunks = count(copies);
    const blocked = copies.some((copy) => copy.blocked);
    if (first === "all" || (chunks === seen && !blocked)) {
      return;
    }
    seen = chunks;
  }
}

/** Runs an exec session to its end. When the client goes first, the process is killed: nobody could see its end any more. */
export async function runExec(client: ClientSession, session: ExecSession): Promise<void> {
  try {
    client.onResize((columns, rows) => session.resize(columns, rows));
    const copies = collect(client, session);
    feed(client, session);
    const exitCode = await Promise.race([session.exit, client.closed.then(() => undefined)]);
    if (exitCode === undefined) {
      session.kill();
      await session.exit;
      return;
    }
    await drained(copies, client.closed);
    await client.finish({ kind: "exited", exitCode });
  } finally {
    release(session);
  }
}

/** Runs an attach session until the container has exited or the client has gone. */
export async function runAttach(client: ClientSession, session: AttachSession): Promise<void> {
  try {
    client.onResize((columns, rows) => session.resize(columns, rows));
    const copies = collect(client, session);
    feed(client, session);
    const first = await Promise.race([session.ended.then(() => "ended"), client.closed.then(() => "gone")]);
    if (first === "ended") {
      await drained(copies, client.closed);
      await client.finish({ kind: "exited", exitCode: 0 });
    }
  } finally {
    session.close();
    release(session);
  }
}

/** Lets go of our ends, so that no file descriptor outlives the session. */
function release(session: SessionStreams): void {
  for (const stream of [session.stdin, session.stdout, session.stderr]) {
    if (stream !== undefined && "destroy" in stream && typeof stream.destroy === "function") {
      // An error that comes of it has no one left to hear it.
      stream.on("error", () => {});
      stream.destroy();
    }
  }
}
