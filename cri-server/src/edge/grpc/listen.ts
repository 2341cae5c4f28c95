import { chmod, mkdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import type { ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { BerthError } from "../../errors/berth-error.ts";

/** One gRPC service with its methods. */
export interface ServedService {
  readonly definition: ServiceDefinition;
  readonly methods: UntypedServiceImplementation;
}

/** The CRI server as it listens. */
export interface Listener {
  /** Waits for calls that run, at most `graceMs`, then ends all. */
  close(graceMs: number): Promise<void>;
}

/** The kubelet accepts 16 MiB; containers with many labels and mounts come near to it in the other direction too. */
const maxReceiveBytes = 32 * 1024 * 1024;

/** Serves on a Unix socket. A stale socket is replaced; one that somebody serves is an error. */
export async function listen(path: string, services: readonly ServedService[]): Promise<Listener> {
  if (Buffer.byteLength(path) > 107) {
    throw new BerthError("invalid-argument", `socket ${path}: longer than the kernel's 107 bytes`);
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  await removeStale(path);
  const server = new Server({
    "grpc.max_receive_message_length": maxReceiveBytes,
    "grpc.max_send_message_length": -1,
    // Nobody asks for the book-keeping of each call.
    "grpc.enable_channelz": 0,
  });
  for (const service of services) {
    server.addService(service.definition, service.methods);
  }
  await bind(server, path);
  // Until this the mode is 0755: connecting needs write permission, so nobody but root can get in meanwhile.
  await chmod(path, 0o660);
  return { close: (graceMs) => close(server, path, graceMs) };
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) {
        resolve();
      } else {
        reject(error);
      }
    });
  });
}

async function removeStale(path: string): Promise<void> {
  const isServed = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (isServed) {
    throw new BerthError("already-exists", `socket ${path}: another server answers there`);
  }
  await rm(path, { force: true });
}

async function close(server: Server, path: string, graceMs: number): Promise<void> {
  const finished = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  const timer = setTimeout(() => server.forceShutdown(), graceMs);
  await finished;
  clearTimeout(timer);
  await rm(path, { force: true });
}
