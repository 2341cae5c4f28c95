import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import * as api from "../../proto/gen/api.ts";

interface UnaryDefinition<Q, R> {
  readonly path: string;
  readonly responseStream: false;
  readonly requestSerialize: (value: Q) => Buffer;
  readonly responseDeserialize: (value: Buffer) => R;
}

export interface CallOptions {
  /** Milliseconds until the client gives up; default half a minute. */
  readonly deadline?: number;
  readonly signal?: AbortSignal;
}

/** One method for each unary RPC of a service; fields that a request leaves out have protobuf's defaults. */
export type Unary<S> = {
  readonly [K in keyof S as S[K] extends UnaryDefinition<infer _Q, infer _R>
    ? K
    : never]: S[K] extends UnaryDefinition<infer Q, infer R>
    ? (request?: api.DeepPartial<Q>, options?: CallOptions) => Promise<R>
    : never;
};

export type Runtime = Unary<typeof api.RuntimeServiceService>;
export type ImageService = Unary<typeof api.ImageServiceService>;

interface MessageType {
  fromPartial(object: object): object;
}

/** The generated module by message name: the one place where an RPC's request type is looked up by its path. */
const messages = api as unknown as Readonly<Record<string, MessageType | undefined>>;

function requestType(path: string): MessageType {
  const rpc = path.slice(path.lastIndexOf("/") + 1);
  const type = messages[rpc === "GetContainerEvents" ? "GetEventsRequest" : `${rpc}Request`];
  if (type === undefined) throw new Error(`the generated module has no request type for ${path}`);
  return type;
}

function call<Q, R>(
  client: Client,
  rpc: UnaryDefinition<Q, R>,
  request: object,
  options: CallOptions,
): Promise<R> {
  const { promise, resolve, reject } = Promise.withResolvers<R>();
  const whole = requestType(rpc.path).fromPartial(request) as Q;
  const pending = client.makeUnaryRequest(
    rpc.path,
    rpc.requestSerialize,
    rpc.responseDeserialize,
    whole,
    new Metadata(),
    { deadline: Date.now() + (options.deadline ?? 30_000) },
    (error: ServiceError | null, response?: R) => {
      if (error !== null) reject(error);
      else resolve(response as R);
    },
  );
  options.signal?.addEventListener("abort", () => pending.cancel(), { once: true });
  return promise;
}

function unary<S extends object>(client: Client, service: S): Unary<S> {
  const methods: Record<string, unknown> = {};
  for (const [name, definition] of Object.entries(service)) {
    if (definition.responseStream) continue;
    methods[name] = (request: object = {}, options: CallOptions = {}) =>
      call(client, definition, request, options);
  }
  return methods as Unary<S>;
}

/** A connection to one CRI socket. Close it, or the process lives on. */
export class CriClient {
  readonly runtime: Runtime;
  readonly image: ImageService;
  /** For what `runtime` and `image` do not have: server streams. */
  readonly events: InstanceType<typeof api.RuntimeServiceClient>;
  readonly #client: Client;

  constructor(socket: string) {
    const options = {
      "grpc.max_receive_message_length": 64 << 20,
      "grpc.max_send_message_length": 64 << 20,
    };
    this.#client = new Client(`unix://${socket}`, credentials.createInsecure(), options);
    this.events = new api.RuntimeServiceClient(`unix://${socket}`, credentials.createInsecure(), options);
    this.runtime = unary(this.#client, api.RuntimeServiceService);
    this.image = unary(this.#client, api.ImageServiceService);
  }

  close(): void {
    this.#client.close();
    this.events.close();
  }
}
