import { parentPort, workerData } from "node:worker_threads";
import { Client, credentials } from "@grpc/grpc-js";

/** Nothing is decoded: what is measured is the server. */
function call(client: Client, method: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const empty = Buffer.alloc(0);
  client.makeUnaryRequest(
    `/runtime.v1.RuntimeService/${method}`,
    () => empty,
    (bytes: Buffer) => bytes,
    empty,
    (error) => (error === null ? resolve() : reject(error)),
  );
  return promise;
}

async function timed(client: Client, method: string): Promise<number> {
  const start = performance.now();
  await call(client, method);
  return performance.now() - start;
}

/** Asks in turns until told to end; a thread of its own, so that the test's work is not in the figures. */
async function sample(socket: string): Promise<void> {
  // Two hundred rows are more than HTTP/2's first window of 64 KiB; Go's clients widen theirs by themselves.
  const options = { "grpc-node.flow_control_window": 1 << 20 };
  const client = new Client(`unix://${socket}`, credentials.createInsecure(), options);
  const times = { ListContainers: [] as number[], Version: [] as number[] };
  let running = true;
  parentPort?.once("message", () => {
    running = false;
  });
  while (running) {
    times.ListContainers.push(await timed(client, "ListContainers"));
    times.Version.push(await timed(client, "Version"));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  client.close();
  parentPort?.postMessage(times);
}

await sample((workerData as { readonly socket: string }).socket);
