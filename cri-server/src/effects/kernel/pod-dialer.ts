import { closeSync, openSync } from "node:fs";
import { Socket } from "node:net";
import koffi from "koffi";
import { BerthError } from "../../errors/berth-error.ts";
import type { PodDialer } from "../../ports/stream-targets.ts";

const libc = koffi.load("libc.so.6");
const setns = libc.func("int setns(int fd, int type)");
const socket = libc.func("int socket(int domain, int type, int protocol)");

const cloneNewNet = 0x40000000;
const families = [
  { number: 2, host: "127.0.0.1" },
  { number: 10, host: "::1" },
] as const;
/** SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK */
const streamSocket = 1 | 0o2000000 | 0o4000;
/** The pod's own loopback answers at once or never. */
const connectMs = 10_000;

function failed(call: string, path: string): BerthError {
  return new BerthError("internal", `${call} ${path}: errno ${koffi.errno()}`);
}

/**
 * Makes a socket that belongs to another network namespace: this thread goes there, makes it and comes back, in one turn
 * and without a wait, so that nothing else ever runs over there. A socket keeps its namespace (namespaces(7)).
 */
function socketIn(netnsPath: string, family: number): number {
  const home = openSync("/proc/thread-self/ns/net", "r");
  try {
    const there = openSync(netnsPath, "r");
    try {
      if (setns(there, cloneNewNet) !== 0) {
        throw failed("setns", netnsPath);
      }
      const fd: number = socket(family, streamSocket, 0);
      const problem = fd < 0 ? failed("socket", netnsPath) : undefined;
      if (setns(home, cloneNewNet) !== 0) {
        // Everything from here on would happen in a pod's network. The supervisor starts a new server.
        process.abort();
      }
      if (problem !== undefined) {
        throw problem;
      }
      return fd;
    } finally {
      closeSync(there);
    }
  } finally {
    closeSync(home);
  }
}

function connect(netnsPath: string, family: (typeof families)[number], port: number): Promise<Socket> {
  const client =
    netnsPath === ""
      ? new Socket({ allowHalfOpen: true })
      : // Not to be read before it is connected.
        new Socket({
          fd: socketIn(netnsPath, family.number),
          allowHalfOpen: true,
          manualStart: true,
        } as object);
  client.setNoDelay(true);
  client.setTimeout(connectMs, () => client.destroy(new Error("no answer")));
  return new Promise((resolve, reject) => {
    client.once("error", reject);
    client.once("connect", () => {
      client.off("error", reject);
      client.setTimeout(0);
      resolve(client);
    });
    client.connect({ port, host: family.host });
  });
}

/** Dials the pod's localhost from inside its network namespace. */
export function createPodDialer(): PodDialer {
  return {
    async dial(netnsPath, port) {
      const failures: unknown[] = [];
      for (const family of families) {
        try {
          return await connect(netnsPath, family, port);
        } catch (error) {
          failures.push(error);
        }
      }
      const reason = failures
        .map((error) => (error instanceof Error ? error.message : String(error)))
        .join("; ");
      throw new BerthError("internal", `no connection to port ${port} on the pod's localhost: ${reason}`, {
        cause: new AggregateError(failures),
      });
    },
  };
}
