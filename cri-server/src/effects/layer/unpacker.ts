import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { UnpackResult } from "../../ports/image-store.ts";
import type { Logger } from "../../ports/logger.ts";

export interface UnpackerOptions {
  readonly program: string;
  readonly socket: string;
  readonly imagesDir: string;
  readonly layersDir: string;
  readonly log: Logger;
}

export interface UnpackRequest {
  /** Relative to the images directory. */
  readonly blob: string;
  /** Relative to the layers directory; missing: only hash. */
  readonly into?: string;
  readonly maxBytes: number;
  readonly maxEntries: number;
}

/** One layer being unpacked, while its blob is still arriving. */
export interface UnpackJob {
  /** The first `bytes` of the blob are on disk. */
  have(bytes: number): void;
  /** The blob is complete, and this long. */
  end(bytes: number): void;
  cancel(): void;
  readonly done: Promise<UnpackResult>;
}

/**
 * berth-unpack's resident parent: started once, so that a layer costs a connection and a fork in a small process rather than
 * a spawn from this large one (which blocks the event loop for milliseconds).
 */
export class Unpacker {
  readonly #options: UnpackerOptions;
  #service: Promise<ChildProcess> | undefined;
  #closed = false;

  constructor(options: UnpackerOptions) {
    this.#options = options;
  }

  /** Starts the program if it does not run. Rejects with what it says. */
  async start(): Promise<void> {
    if (this.#closed) {
      throw new BerthError("unavailable", "the image store is closed");
    }
    this.#service ??= this.#spawn();
    await this.#service;
  }

  async #spawn(): Promise<ChildProcess> {
    const { program, socket, imagesDir, layersDir, log } = this.#options;
    await rm(socket, { force: true });
    const child = spawn(program, [socket, imagesDir, layersDir], { stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(child, "exit").then(
      ([code, signal]) => `${program} ended with ${signal ?? code}`,
      (error: unknown) => `${program}: ${String(error)}`,
    );
    const line = await Promise.race([firstLine(child), ended]);
    if (line !== "ready") {
      this.#service = undefined;
      throw new BerthError("internal", `layers can't be unpacked: ${line}`);
    }
    void ended.then((how) => {
      this.#service = undefined;
      if (!this.#closed) {
        log.warn({ how }, "the unpacker ended; the next layer starts it again");
      }
    });
    // It must not hold this process back from ending.
    child.unref();
    return child;
  }

  /** Resolves when every layer that is unpacked by now would survive a power cut. */
  async sync(): Promise<void> {
    await this.start();
    const connection = createConnection(this.#options.socket);
    let answer = "";
    connection.setEncoding("latin1");
    connection.on("data", (text: string) => {
      answer += text;
    });
    connection.write("into layers\nsync\n");
    await once(connection, "close");
    if (answer !== "synced\n") {
      throw new BerthError("internal", `the layers can't be flushed: ${answer.trimEnd() || "no answer"}`);
    }
  }

  /** Starts one layer. */
  unpack(request: UnpackRequest): UnpackJob {
    return new Job(request, this.start(), this.#options.socket);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const child = await this.#service?.catch(() => undefined);
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const gone = once(child, "exit");
      child.ref();
      child.stdin?.end();
      await gone;
    }
    await rm(this.#options.socket, { force: true });
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) {
    return "it has no output";
  }
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, "line")) as [string];
  lines.close();
  return line;
}

class Job implements UnpackJob {
  readonly done: Promise<UnpackResult>;
  readonly #settled = Promise.withResolvers<UnpackResult>();
  #connection: Socket | undefined;
  #backlog = "";
  #cancelled = false;

  constructor(request: UnpackRequest, ready: Promise<void>, socket: string) {
    this.done = this.#settled.promise;
    // Whoever cancels does not wait for the outcome.
    this.done.catch(() => {});
    this.#backlog = `blob images/${request.blob}\n`;
    if (request.into !== undefined) {
      this.#backlog += `into layers/${request.into}\n`;
    }
    this.#backlog += `max-bytes ${request.maxBytes}\nmax-entries ${request.maxEntries}\ngo\n`;
    ready.then(
      () => this.#connect(socket),
      (error: unknown) => this.#settled.reject(error),
    );
  }

  have(bytes: number): void {
    this.#send(`have ${bytes}\n`);
  }

  end(bytes: number): void {
    this.#send(`end ${bytes}\n`);
  }

  cancel(): void {
    this.#cancelled = true;
    this.#connection?.destroy();
    this.#settled.reject(new BerthError("cancelled", "unpacking was cancelled"));
  }

  #send(text: string): void {
    if (this.#connection === undefined) {
      this.#backlog += text;
    } else if (this.#connection.writable) {
      this.#connection.write(text);
    }
  }

  #connect(socket: string): void {
    if (this.#cancelled) {
      return;
    }
    const connection = createConnection(socket);
    let answer = "";
    this.#connection = connection;
    connection.setEncoding("latin1");
    connection.write(this.#backlog);
    connection.on("data", (text: string) => {
      answer += text;
      // On a busy machine a process that has said its last word may be long in ending.
      if (answer.endsWith("\n")) {
        connection.destroy();
      }
    });
    // A worker that failed closes while progress is still being sent; its answer is what counts.
    let failure: Error | undefined;
    connection.on("error", (error) => {
      failure = error;
    });
    connection.on("close", () => this.#finish(answer, failure));
  }

  #finish(answer: string, failure: Error | undefined): void {
    const result = parseAnswer(answer.trimEnd());
    if (result !== undefined && !(result instanceof Error)) {
      this.#settled.resolve(result);
      return;
    }
    const why = failure === undefined ? "the unpacker ended without an answer" : failure.message;
    this.#settled.reject(
      result ?? new BerthError("internal", `unpacking failed: ${why}`, { cause: failure }),
    );
  }
}

const noSpace = new Set([28, 122]);

/** One line of berth-unpack. */
export function parseAnswer(line: string): UnpackResult | BerthError | undefined {
  const done = /^done ([0-9a-f]{64}) ([0-9a-f]{64}) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$/.exec(line);
  if (done !== null) {
    const [bytes = 0, entries = 0, diskBytes = 0, inodes = 0, impliedDirectories = 0, skippedAttributes = 0] =
      done.slice(3).map(Number);
    const digest = (n: number): Digest => `sha256:${done[n] ?? ""}`;
    return {
      blob: digest(1),
      diffId: digest(2),
      bytes,
      entries,
      diskBytes,
      inodes,
      impliedDirectories,
      skippedAttributes,
    };
  }
  const failed = /^fail (\S+) (\d+) (.*)$/.exec(line);
  if (failed === null) {
    return undefined;
  }
  const [, stage = "", errno = "0", message = ""] = failed;
  if (noSpace.has(Number(errno))) {
    return new BerthError("resource-exhausted", `the disk of the images is full: ${message}`);
  }
  const ours = new Set(["confine", "request", "reply", "memory", "fork"]).has(stage);
  return new BerthError(ours ? "internal" : "pull-failed", `layer can't be unpacked (${stage}): ${message}`);
}
