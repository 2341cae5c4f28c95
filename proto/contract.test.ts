import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type {
  AnyDefinition,
  EnumTypeDefinition,
  MessageTypeDefinition,
  PackageDefinition,
  ServiceDefinition,
} from "@grpc/proto-loader";
import { loadSync } from "@grpc/proto-loader";
import { describe, expect, it } from "vitest";
import * as generated from "./gen/api.ts";

const upstreamModule = "k8s.io/cri-api@v0.37.2";
const upstreamFile = "pkg/apis/runtime/v1/api.proto";

type Message = MessageTypeDefinition<object, object>;

interface Field {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}

interface MessageType {
  readonly field: readonly Field[];
  readonly nestedType?: readonly (MessageType & { readonly name: string })[];
}

const load = (path: string, keepCase: boolean): PackageDefinition =>
  loadSync(path, { keepCase, longs: String, bytes: Buffer, defaults: true, arrays: true, objects: true });

const isMessage = (definition: AnyDefinition): definition is Message =>
  "format" in definition && definition.format === "Protocol Buffer 3 DescriptorProto";
const isEnum = (definition: AnyDefinition): definition is EnumTypeDefinition =>
  "format" in definition && definition.format === "Protocol Buffer 3 EnumDescriptorProto";

/** The folder of the published module, if this machine has Go and can get it. */
function upstream(): string | undefined {
  try {
    const answer: unknown = JSON.parse(
      execFileSync("go", ["mod", "download", "-json", upstreamModule], { encoding: "utf8", stdio: "pipe" }),
    );
    const isFound = typeof answer === "object" && answer !== null && "Dir" in answer;
    return isFound && typeof answer.Dir === "string" ? answer.Dir : undefined;
  } catch {
    return undefined;
  }
}

/** Everything of a definition that is on the wire or in a client's source: names, numbers, types, streams. */
function shape(definition: AnyDefinition): unknown {
  if (isMessage(definition) || isEnum(definition)) {
    return JSON.parse(
      JSON.stringify(definition.type, (key, value) => (key === "options" ? undefined : value)),
    );
  }
  const service = definition as ServiceDefinition;
  return Object.fromEntries(
    Object.entries(service).map(([name, method]) => {
      const { path, requestStream, responseStream } = method;
      const { requestType, responseType } = method;
      return [
        name,
        { path, requestStream, responseStream, request: requestType.type, response: responseType.type },
      ];
    }),
  );
}

const shapes = (definitions: PackageDefinition): Record<string, unknown> =>
  Object.fromEntries(Object.entries(definitions).map(([name, definition]) => [name, shape(definition)]));

describe("api.proto", () => {
  const directory = upstream();
  // Without Go or a module proxy there is nothing to compare with; CI has both.
  it.skipIf(directory === undefined)(
    "has every name, number and type of the published cri-api, and no other",
    () => {
      const published = join(directory ?? "", upstreamFile);
      expect(existsSync(published)).toBe(true);
      expect(shapes(load(join(import.meta.dirname, "api.proto"), true))).toEqual(
        shapes(load(published, true)),
      );
    },
  );

  it("has 43 RPCs", () => {
    const { RuntimeServiceService, ImageServiceService } = generated;
    expect(Object.keys(RuntimeServiceService).length).toBe(37);
    expect(Object.keys(ImageServiceService).length).toBe(6);
  });
});

/** Values that a codec gets wrong most easily: the largest, the negative, the binary, the non-Latin. */
const samples: Readonly<Record<string, unknown>> = {
  TYPE_STRING: 'Grüße, 世界 "quoted"\n',
  TYPE_BOOL: true,
  TYPE_INT32: -2_147_483_648,
  TYPE_UINT32: 4_294_967_295,
  TYPE_DOUBLE: 0.1,
  TYPE_ENUM: 1,
  TYPE_INT64: -9_223_372_036_854_775_808n,
  TYPE_UINT64: 18_446_744_073_709_551_615n,
  TYPE_BYTES: Buffer.from([0, 0xff, 0xfe, 0x80]),
};

/** A message with every field set, as ts-proto has it. `depth` ends recursion. */
function filled(definitions: PackageDefinition, message: Message, depth = 0): Record<string, unknown> {
  const type = message.type as unknown as MessageType;
  const result: Record<string, unknown> = {};
  for (const field of type.field) {
    const entry = type.nestedType?.find((nested) => nested.name === field.typeName);
    if (entry !== undefined) {
      result[field.name] = { "": "empty key", key: "value", ünï: "" };
      continue;
    }
    const nested = field.type === "TYPE_MESSAGE" ? definitions[`runtime.v1.${field.typeName}`] : undefined;
    const isNested = nested !== undefined && isMessage(nested);
    const value = isNested ? filled(definitions, nested, depth + 1) : samples[field.type];
    if (value === undefined) {
      throw new Error(`no sample for ${field.name} of ${field.type} ${field.typeName}`);
    }
    result[field.name] = field.label === "LABEL_REPEATED" ? [value, value] : value;
  }
  return result;
}

/** Bigints as the other codec has them. */
const withStrings = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_key, item) => (typeof item === "bigint" ? item.toString() : item)));

interface Codec {
  readonly encode: (message: object) => { readonly finish: () => Uint8Array };
  readonly decode: (bytes: Uint8Array) => object;
  readonly fromPartial: (message: object) => object;
}

describe("the generated codec and an independent one", () => {
  const definitions = load(join(import.meta.dirname, "api.proto"), false);
  const messages = Object.entries(definitions).filter((entry): entry is [string, Message] =>
    isMessage(entry[1]),
  );

  it.each(messages)("agree on %s", (name, message) => {
    const codec = (generated as unknown as Record<string, Codec>)[name.replace("runtime.v1.", "")];
    if (codec === undefined) {
      throw new Error(`gen/api.ts has no ${name}`);
    }
    const full = codec.fromPartial(filled(definitions, message));
    for (const value of [full, codec.fromPartial({})]) {
      const bytes = Buffer.from(codec.encode(value).finish());
      const seen = message.deserialize(bytes);
      expect(withStrings(seen)).toEqual(withStrings(stripUndefined(value, seen)));
      expect(codec.decode(message.serialize(seen))).toEqual(value);
    }
  });
});

/** ts-proto has `undefined` where the other codec has null for a message that is not there. */
function stripUndefined(value: object, seen: object): object {
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, inner === undefined && key in seen ? null : inner]),
  );
}
