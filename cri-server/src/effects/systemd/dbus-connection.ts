import { once } from "node:events";
import type { Socket } from "node:net";
import { createConnection } from "node:net";
import { BerthError } from "../../errors/berth-error.ts";
import type { DbusMessage } from "./dbus-message.ts";
import { encodeMessage, MessageStream } from "./dbus-message.ts";
import type { DbusValue } from "./dbus-types.ts";

export interface DbusCall {
  /** "" on a connection without a bus. */
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature: string;
  readonly body: readonly DbusValue[];
}

/** An error that the peer answered. */
export class DbusError extends Error {
  override readonly name = "DbusError";
  /** org.freedesktop.systemd1.NoSuchUnit and the like. */
  readonly errorName: string;
  constructor(errorName: string, message: string) {
    super(`${errorName}: ${message}`);
    this.errorName = errorName;
  }
}

interface Waiting {
  readonly resolve: (body: readonly DbusValue[]) => void;
  readonly reject: (error: Error) => void;
}

const authTimeoutMs = 10_000;
const callTimeoutMs = 30_000;

/** One connection to a D-Bus peer over a Unix socket. It doesn't keep the process alive. */
export class DbusConnection {
  readonly path: string;
  /** Resolves, with why, when the connection has ended. */
  readonly closed: Promise<string>;
  readonly #tellClosed: (why: string) => void;
  readonly #socket: Socket;
  readonly #stream = new MessageStream();
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(signal: DbusMessage) => void>();
  #serial = 0;
  #isClosed = false;

  private constructor(path: string, socket: Socket, rest: Buffer) {
    this.path = path;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.closed = promise;
    this.#tellClosed = resolve;
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(new Error("the peer closed the connection")));
    socket.unref();
    if (rest.length > 0) this.#take(rest);
  }

  /** Connects and authenticates as this process's user. */
  static async open(path: string): Promise<DbusConnection> {
    const socket = createConnection({ path });
    try {
      await once(socket, "connect", { signal: AbortSignal.timeout(authTimeoutMs) });
      const rest = await authenticate(socket);
      return new DbusConnection(path, socket, rest);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves with the reply's values. Rejects with a DbusError if the peer says no. */
  call(call: DbusCall): Promise<readonly DbusValue[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly DbusValue[]>();
    if (this.#isClosed) {
      reject(this.#lost("the connection is closed"));
      return promise;
    }
    this.#serial += 1;
    const serial = this.#serial;
    const timer = setTimeout(() => {
      this.#end(new Error(`no answer to ${call.member} for ${callTimeoutMs / 1000} seconds`));
    }, callTimeoutMs);
    this.#waiting.set(serial, {
      resolve: (body) => {
        clearTimeout(timer);
        resolve(body);
      },
      reject: (error) => {
        clearTimeout(timer);
        reject(error);
      },
    });
    this.#socket.write(encodeMessage({ ...call, kind: "call", serial, replySerial: 0, errorName: "" }));
    return promise;
  }

  /** Calls the listener for each signal. Returns how to stop it. */
  onSignal(listener: (signal: DbusMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#end(new Error("it was closed"));
  }

  #take(chunk: Buffer): void {
    try {
      for (const message of this.#stream.push(chunk)) this.#dispatch(message);
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #dispatch(message: DbusMessage): void {
    switch (message.kind) {
      case "call":
        // Nothing is offered here; peers ask for nothing but Ping and Introspect.
        return;
      case "signal":
        for (const listener of this.#listeners) listener(message);
        return;
      case "return":
      case "error": {
        const waiting = this.#waiting.get(message.replySerial);
        this.#waiting.delete(message.replySerial);
        if (message.kind === "return") waiting?.resolve(message.body);
        else waiting?.reject(new DbusError(message.errorName, String(message.body[0] ?? "")));
        return;
      }
    }
  }

  #end(error: Error): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.destroy();
    for (const waiting of this.#waiting.values()) waiting.reject(this.#lost(error.message, error));
    this.#waiting.clear();
    this.#tellClosed(`lost: ${error.message}`);
  }

  #lost(why: string, cause?: Error): BerthError {
    return new BerthError("internal", `D-Bus ${this.path}: ${why}`, { cause });
  }
}

/** SASL EXTERNAL: the kernel tells the peer who we are. Resolves with bytes that came after it. */
async function authenticate(socket: Socket): Promise<Buffer> {
  const uid = Buffer.from(String(process.geteuid?.() ?? 0)).toString("hex");
  socket.write(`\0AUTH EXTERNAL ${uid}\r\n`);
  let received = Buffer.alloc(0);
  const signal = AbortSignal.timeout(authTimeoutMs);
  while (!received.includes("\r\n")) {
    const [chunk] = (await once(socket, "data", { signal })) as [Buffer];
    received = Buffer.concat([received, chunk]);
    if (received.length > 4096) throw new Error("D-Bus: no line in the first 4096 bytes");
  }
  const end = received.indexOf("\r\n");
  const line = received.toString("latin1", 0, end);
  if (!line.startsWith("OK ")) throw new Error(`D-Bus: authentication was answered ${JSON.stringify(line)}`);
  socket.write("BEGIN\r\n");
  return received.subarray(end + 2);
}
