import { Readable, Writable } from "node:stream";
import type { SpdyHeaders } from "./spdy-headers.ts";

/** What a stream needs of its connection. */
export interface StreamOwner {
  /** Sends the parts as one frame. */
  sendData(streamId: number, parts: readonly Buffer[], done: () => void): void;
  sendFin(streamId: number): void;
  sendReset(streamId: number): void;
  /** Holds back the whole connection until the stream has room again: SPDY as Kubernetes has it knows no smaller unit. */
  hold(stream: SpdyStream): void;
  release(stream: SpdyStream): void;
  remove(stream: SpdyStream): void;
}

/** How much of one stream may wait for its reader. */
const inboundBytes = 256 * 1024;
/** Several reads of a pipe, so that a write which the kernel takes at once doesn't count as back-pressure. */
const outboundBytes = 256 * 1024;

/** One stream of a SPDY connection, seen as two Node streams. */
export class SpdyStream {
  readonly id: number;
  readonly headers: SpdyHeaders;
  /** What the client sends. Ends when the client half-closes. */
  readonly incoming: Readable;
  /** What the client gets. Ending it half-closes. */
  readonly outgoing: Writable;
  /** Resolves when neither side sends any more. */
  readonly closed: Promise<void>;
  readonly #owner: StreamOwner;
  readonly #close: () => void;
  #remoteDone = false;
  #localDone = false;

  constructor(id: number, headers: SpdyHeaders, owner: StreamOwner) {
    this.id = id;
    this.headers = headers;
    this.#owner = owner;
    const closed = Promise.withResolvers<void>();
    this.closed = closed.promise;
    this.#close = closed.resolve;
    this.incoming = new Readable({
      highWaterMark: inboundBytes,
      read: () => owner.release(this),
      destroy: (error, callback) => {
        owner.release(this);
        callback(error);
      },
    });
    this.outgoing = new Writable({
      highWaterMark: outboundBytes,
      write: (chunk: Buffer, _encoding, callback) => this.#send([chunk], callback),
      // What has gathered meanwhile goes as one frame: Go's clients read each frame's head with system calls of its own.
      writev: (chunks, callback) =>
        this.#send(
          chunks.map(({ chunk }) => chunk),
          callback,
        ),
      final: (callback) => {
        this.#finish(() => owner.sendFin(id));
        callback();
      },
    });
  }

  /** Data that has come. */
  accept(bytes: Buffer): void {
    if (!this.#remoteDone && !this.incoming.destroyed && !this.incoming.push(bytes)) {
      this.#owner.hold(this);
    }
  }

  /** The client half-closes. */
  acceptFin(): void {
    if (!this.#remoteDone) {
      this.#remoteDone = true;
      this.incoming.push(null);
      this.#settle();
    }
  }

  /** Ends both directions. `tell`: the client doesn't know yet. */
  reset(tell: boolean): void {
    if (tell && !(this.#localDone && this.#remoteDone)) {
      this.#owner.sendReset(this.id);
    }
    this.#localDone = true;
    this.#remoteDone = true;
    this.incoming.destroy();
    this.outgoing.destroy();
    this.#settle();
  }

  #send(parts: readonly Buffer[], done: () => void): void {
    if (this.#localDone) {
      done();
    } else {
      this.#owner.sendData(this.id, parts, done);
    }
  }

  #finish(send: () => void): void {
    if (!this.#localDone) {
      this.#localDone = true;
      send();
      this.#settle();
    }
  }

  #settle(): void {
    if (this.#localDone && this.#remoteDone) {
      this.#owner.remove(this);
      this.#close();
    }
  }
}
