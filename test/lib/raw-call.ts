import { type Client, Metadata, type ServiceError } from "@grpc/grpc-js";
import * as api from "../../proto/gen/api.ts";

/** One RPC of either service. */
export interface Rpc {
  /** As in the proto: RunPodSandbox. */
  readonly name: string;
  readonly path: string;
  readonly isStream: boolean;
  /** Bytes of a request; fields that are left out have protobuf's defaults. */
  readonly encode: (request: object) => Buffer;
}

interface MessageType {
  fromPartial(object: object): object;
}

const messages = api as unknown as Readonly<Record<string, MessageType | undefined>>;

interface Definition {
  readonly path: string;
  readonly responseStream: boolean;
  readonly requestSerialize: (value: never) => Buffer;
}

function rpcOf({ path, responseStream, requestSerialize }: Definition): Rpc {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const type = messages[name === "GetContainerEvents" ? "GetEventsRequest" : `${name}Request`];
  if (type === undefined) throw new Error(`the generated module has no request type for ${path}`);
  const encode = (request: object) => requestSerialize(type.fromPartial(request) as never);
  return { name, path, isStream: responseStream, encode };
}

/** Every RPC that there is. */
export const everyRpc: readonly Rpc[] = [api.RuntimeServiceService, api.ImageServiceService].flatMap(
  (service) => Object.values(service as Readonly<Record<string, Definition>>).map(rpcOf),
);

/** How a call ended: gRPC's number, 0 for success. */
export interface CallOutcome {
  readonly code: number;
  readonly details: string;
}

export interface RawCallOptions {
  /** Milliseconds; default five seconds. */
  readonly deadline?: number;
  readonly signal?: AbortSignal;
}

/** Sends bytes as they are; every end is an answer. What comes back is not looked at. */
export function rawCall(
  client: Client,
  rpc: Pick<Rpc, "path" | "isStream">,
  bytes: Buffer,
  { deadline = 5000, signal }: RawCallOptions = {},
): Promise<CallOutcome> {
  const { promise, resolve } = Promise.withResolvers<CallOutcome>();
  const same = (value: Buffer): Buffer => value;
  const options = { deadline: Date.now() + deadline };
  const end = (error: ServiceError | null): void => {
    resolve({ code: error?.code ?? 0, details: error?.details ?? "" });
  };
  if (!rpc.isStream) {
    const call = client.makeUnaryRequest(rpc.path, same, same, bytes, new Metadata(), options, end);
    signal?.addEventListener("abort", () => call.cancel(), { once: true });
    return promise;
  }
  const call = client.makeServerStreamRequest(rpc.path, same, same, bytes, new Metadata(), options);
  signal?.addEventListener("abort", () => call.cancel(), { once: true });
  call.on("error", end);
  call.on("end", () => end(null));
  call.resume();
  return promise;
}
