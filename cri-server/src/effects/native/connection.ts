import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../../errors/berth-error.ts";
import type { ErrorCode } from "../../errors/catalogue.ts";
import { encodeFrame, type Frame, FrameSplitter, type PayloadReader } from "./frames.ts";
import { Op } from "./ops.gen.ts";
import { errnoName, sendWithFds } from "./sockets.ts";

const empty = Buffer.alloc(0);

/** A step that native code could not do. */
export interface Failure {
  readonly errno: number;
  readonly stage: string;
  readonly text: string;
}

export function readFailure(payload: PayloadReader): Failure {
  return { errno: payload.u32() | 0, stage: payload.text(), text: payload.text() };
}

/** What the kernel says of a sysctl that somebody asked for by a wrong name or value. */
const sysctlMistakes: Readonly<Record<string, string>> = {
  ENOENT: "the kernel has none of this name for a pod",
  EINVAL: "the kernel takes no such value",
  ERANGE: "the kernel takes no such value",
};

/** How a monitor calls a plan that it can't read. Ours are well formed: it is of a build whose plans have another form. */
const unreadable = "malformed plan";

/** The catalogue's code for a failure; `other` is what stages of the kernel's become. */
export function failureError(failure: Failure, what: string, other: ErrorCode): BerthError {
  const reason = failure.errno === 0 ? "" : `: ${errnoName(failure.errno)}`;
  const message = `${what}: ${failure.stage}: ${failure.text}${reason}`;
  switch (failure.stage) {
    case "container": {
      const exists = errnoName(failure.errno) === "EEXIST";
      return new BerthError(exists ? "already-exists" : "container-not-found", message);
    }
    case "state":
      return new BerthError("wrong-state", message);
    case "request":
    case "spec": {
      if (failure.text !== unreadable) return new BerthError("internal", message);
      const way = "stop and remove the pod, and make it again";
      return new BerthError("wrong-state", `${what}: the pod was made by another build of Berth: ${way}`);
    }
    case "sysctl": {
      const mistake = sysctlMistakes[errnoName(failure.errno)];
      if (mistake === undefined) return new BerthError(other, message);
      return new BerthError("invalid-argument", `linux.sysctls ${failure.text}: ${mistake}`);
    }
    case "image-volume":
      // The kubelet tells this failure from others by the message's first word.
      return new BerthError("image-volume-failed", `ImageVolumeMountFailed: ${message}`);
    default:
      return new BerthError(errnoName(failure.errno) === "ENOSPC" ? "resource-exhausted" : other, message);
  }
}

interface Waiting {
  readonly what: string;
  readonly otherwise: ErrorCode;
  resolve(payload: PayloadReader): void;
  reject(error: Error): void;
}

/** How one request is sent and what its failure is called. */
export interface RequestOptions {
  /** For error messages, e.g. "create <container id>". */
  readonly what: string;
  readonly otherwise?: ErrorCode;
  readonly fds?: readonly number[];
  readonly signal?: AbortSignal | undefined;
  /** Called in the same turn in which the answer comes, before any later frame is looked at. */
  readonly onAnswer?: (payload: PayloadReader) => void;
}

/**
 * One connection to a launcher or a monitor: numbered requests with one answer each, and frames that nobody asked for.
 * When it ends, every waiting request is rejected with `monitor-lost`.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #fd: number | undefined;
  readonly #peer: string;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  /** Sends of fds wait for their turn, and everything after them too. */
  #turn: Promise<void> | undefined;
  #ended = false;
  #cause: Error | undefined;
  #onFrame: (frame: Frame) => void = () => {};
  #onEnd: () => void = () => {};

  constructor(socket: Socket, peer: string, fd?: number) {
    this.#socket = socket;
    this.#fd = fd;
    this.#peer = peer;
    const splitter = new FrameSplitter();
    socket.on("data", (chunk: Buffer) => {
      try {
        for (const frame of splitter.push(chunk)) this.#take(frame);
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    });
    // An error is always followed by 'close', which is where the connection ends.
    socket.on("error", (error) => {
      this.#cause = error;
    });
    socket.on("end", () => socket.destroy());
    socket.on("close", () => this.#end());
  }

  /** A connection over an fd that is ours. */
  static over(fd: number, peer: string): Connection {
    return new Connection(new Socket({ fd, readable: true, writable: true, allowHalfOpen: false }), peer, fd);
  }

  get ended(): boolean {
    return this.#ended;
  }

  get socket(): Socket {
    return this.#socket;
  }

  /** Frames that answer no request. */
  onFrame(listener: (frame: Frame) => void): void {
    this.#onFrame = listener;
  }

  onEnd(listener: () => void): void {
    this.#onEnd = listener;
  }

  request(type: number, payload: Buffer, options: RequestOptions): Promise<PayloadReader> {
    const request = this.#next;
    this.#next = this.#next === 0xffff_ffff ? 1 : this.#next + 1;
    const { signal } = options;
    return new Promise<PayloadReader>((resolve, reject) => {
      if (this.#ended) {
        reject(this.#lost(options.what));
        return;
      }
      const cancel = () => this.#send(encodeFrame(Op.CANCEL, request, empty), undefined);
      this.#waiting.set(request, {
        what: options.what,
        otherwise: options.otherwise ?? "launch-failed",
        resolve: (answer) => {
          signal?.removeEventListener("abort", cancel);
          options.onAnswer?.(answer);
          resolve(answer);
        },
        reject: (error) => {
          signal?.removeEventListener("abort", cancel);
          reject(error);
        },
      });
      signal?.addEventListener("abort", cancel, { once: true });
      this.#send(encodeFrame(type, request, payload, options.fds?.length ?? 0), options.fds);
      if (signal?.aborted) cancel();
    });
  }

  /** A frame that has no answer. False: the socket's buffer is full; wait for its 'drain'. */
  post(type: number, payload: Buffer, request = 0): boolean {
    if (this.#ended) return true;
    return this.#send(encodeFrame(type, request, payload), undefined);
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(frame: Buffer, fds: readonly number[] | undefined): boolean {
    if (this.#turn === undefined && (fds === undefined || fds.length === 0)) return this.#socket.write(frame);
    const turn = (this.#turn ?? Promise.resolve()).then(() => this.#sendInTurn(frame, fds));
    const last = turn
      .catch((error: unknown) => {
        this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
      })
      .finally(() => {
        if (this.#turn === last) this.#turn = undefined;
      });
    this.#turn = last;
    return true;
  }

  async #sendInTurn(frame: Buffer, fds: readonly number[] | undefined): Promise<void> {
    if (fds === undefined || fds.length === 0) {
      this.#socket.write(frame);
      return;
    }
    if (this.#fd === undefined) throw new Error("this connection can't carry file descriptors");
    // Whatever Node still holds back has to go first.
    while (this.#socket.writableLength > 0 && !this.#ended) await sleep(1);
    let sent = 0;
    while (sent === 0 && !this.#ended) {
      sent = sendWithFds(this.#fd, frame, fds);
      if (sent === 0) await sleep(1);
    }
    if (sent < frame.length) this.#socket.write(frame.subarray(sent));
  }

  #take(frame: Frame): void {
    const waiting = this.#waiting.get(frame.request);
    if (waiting === undefined || (frame.type !== Op.OK && frame.type !== Op.FAILED)) {
      this.#onFrame(frame);
      return;
    }
    this.#waiting.delete(frame.request);
    if (frame.type === Op.OK) waiting.resolve(frame.payload);
    else waiting.reject(failureError(readFailure(frame.payload), waiting.what, waiting.otherwise));
  }

  #lost(what: string): BerthError {
    return new BerthError("monitor-lost", `${what}: the connection to ${this.#peer} has ended`, {
      cause: this.#cause,
    });
  }

  #end(): void {
    this.#ended = true;
    for (const waiting of this.#waiting.values()) waiting.reject(this.#lost(waiting.what));
    this.#waiting.clear();
    this.#onEnd();
  }
}
