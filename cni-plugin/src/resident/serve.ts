import { closeSync, openSync, readlinkSync } from "node:fs";
import { chmod, mkdir, unlink } from "node:fs/promises";
import type { Socket } from "node:net";
import { createConnection, createServer } from "node:net";
import { dirname } from "node:path";
import { peerOf } from "../kernel/libc.ts";
import type { PluginOutcome, PluginServer } from "./handle.ts";
import { accepted, decodeRequest, encodeAnswer, refused } from "./protocol.ts";

type Run = (env: Readonly<Record<string, string>>, stdin: Buffer, netnsFd?: number) => Promise<PluginOutcome>;

/** Node has no public way to a socket's descriptor; without one nobody is served here, and the launcher does it alone. */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = "_handle" in socket ? socket._handle : undefined;
  if (typeof handle !== "object" || handle === null || !("fd" in handle)) return undefined;
  return typeof handle.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.on("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", () => resolve(false));
  });
}

/** What the launcher has open: a link that leads to the very file, whatever the mount namespaces of both are. */
function peerFile(pid: number, fd: number): string {
  return `/proc/${pid}/fd/${fd}`;
}

/** True when the launcher is in this process's network namespace: what it means by a bridge is then what we mean. */
function sameNamespace(pid: number, fd: number, home: bigint): boolean {
  return readlinkSync(peerFile(pid, fd)) === `net:[${home}]`;
}

class Conversation {
  readonly #socket: Socket;
  readonly #run: Run;
  readonly #home: bigint;
  #bytes: Buffer = Buffer.alloc(0);
  #begun = false;

  constructor(socket: Socket, run: Run, home: bigint) {
    this.#socket = socket;
    this.#run = run;
    this.#home = home;
    socket.on("data", (chunk) => this.#data(typeof chunk === "string" ? Buffer.from(chunk) : chunk));
    socket.on("error", () => socket.destroy());
  }

  #data(chunk: Buffer): void {
    if (this.#begun) return;
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    const request = decodeRequest(this.#bytes);
    if (request === undefined) return;
    this.#begun = true;
    if (request === "refuse") {
      this.#socket.end(refused);
      return;
    }
    let netnsFd: number | undefined;
    try {
      const descriptor = descriptorOf(this.#socket);
      const peer = descriptor === undefined ? { pid: 0, uid: -1 } : peerOf(descriptor);
      if (peer.pid === 0 || peer.uid !== 0 || !sameNamespace(peer.pid, request.ownNetnsFd, this.#home)) {
        this.#socket.end(refused);
        return;
      }
      netnsFd = request.netnsFd < 0 ? undefined : openSync(peerFile(peer.pid, request.netnsFd), "r");
    } catch {
      // The launcher ended, or /proc hides it: nothing has been done yet, so it may do it by itself.
      this.#socket.end(refused);
      return;
    }
    void this.#answer(request.env, request.stdin, netnsFd);
  }

  async #answer(
    env: Readonly<Record<string, string>>,
    stdin: Buffer,
    netnsFd: number | undefined,
  ): Promise<void> {
    try {
      this.#socket.write(accepted);
      this.#socket.end(encodeAnswer(await this.#run(env, stdin, netnsFd)));
    } finally {
      if (netnsFd !== undefined) closeSync(netnsFd);
    }
  }
}

/** Listens for launchers. Only root can connect, and only root is served. */
export async function serveLauncher(
  path: string,
  run: Run,
  home: () => Promise<bigint>,
): Promise<PluginServer> {
  const inode = await home();
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  if (await isAnswered(path)) throw new Error(`${path} is served by another process`);
  await unlink(path).catch(() => undefined);
  const server = createServer((socket) => new Conversation(socket, run, inode));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
  await chmod(path, 0o600);
  return {
    path,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
      }),
  };
}
