import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BerthError } from "../../errors/berth-error.ts";
import type { ErrorCode } from "../../errors/catalogue.ts";
import type { Logger } from "../../ports/logger.ts";
import { type Listener, listen } from "./listen.ts";
import { wrapUnary } from "./wrap.ts";

interface Line {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string | undefined;
}

let lines: Line[] = [];

function recordingLogger(bound: object = {}): Logger {
  const at = (level: string) => (fields: object, message?: string) => {
    lines.push({ level, fields: { ...bound, ...fields }, message });
  };
  const [trace, debug, info, warn, error] = ["trace", "debug", "info", "warn", "error"].map(at);
  return {
    trace: trace ?? at("trace"),
    debug: debug ?? at("debug"),
    info: info ?? at("info"),
    warn: warn ?? at("warn"),
    error: error ?? at("error"),
    child: (fields) => recordingLogger({ ...bound, ...fields }),
  };
}

const json = {
  serialize: (value: string) => Buffer.from(value),
  deserialize: (bytes: Buffer) => bytes.toString(),
};

function methodNamed(name: string) {
  return {
    path: `/test/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: json.serialize,
    requestDeserialize: json.deserialize,
    responseSerialize: json.serialize,
    responseDeserialize: json.deserialize,
  } as const;
}

/** One that the kubelet polls with, and one that changes something. */
const methods = ["containerStatus", "createContainer"] as const;

/** Every call fails: with the catalogue's error that the request names, else with one that nobody foresaw. */
async function fail(request: string): Promise<string> {
  const cause = new Error("the middle", { cause: new Error("the bottom") });
  if (request === "unforeseen") {
    throw new TypeError("the top", { cause });
  }
  throw new BerthError(request as ErrorCode, "the top", { cause });
}

const dir = mkdtempSync(join(tmpdir(), "berth-wrap-"));
const socket = join(dir, "s");
let listener: Listener;
let client: Client;
beforeAll(async () => {
  const deps = { gate: { refusal: undefined }, log: recordingLogger(), telemetry: undefined };
  listener = await listen(socket, [
    {
      definition: Object.fromEntries(methods.map((name) => [name, methodNamed(name)])),
      methods: Object.fromEntries(methods.map((name) => [name, wrapUnary(name, fail, deps)])),
    },
  ]);
  client = new Client(`unix://${socket}`, credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await listener.close(100);
  rmSync(dir, { recursive: true, force: true });
});
beforeEach(() => {
  lines = [];
});

function call(name: (typeof methods)[number], request: string): Promise<ServiceError> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      `/test/${name}`,
      json.serialize,
      json.deserialize,
      request,
      (error: ServiceError | null) =>
        error === null ? reject(new Error("it did not fail")) : resolve(error),
    );
  });
}

/** The one line of a call that says how it failed. */
function failureOf(name: string): Line {
  const found = lines.filter(({ fields, message }) => fields.rpc === name && message !== "request");
  expect(found).toHaveLength(1);
  return found[0] ?? { level: "", fields: {}, message: undefined };
}

describe("the log line of a failed call", () => {
  it.each([
    ["container-not-found", "debug", "info"],
    ["invalid-argument", "debug", "info"],
    ["wrong-state", "debug", "info"],
    ["already-exists", "debug", "info"],
    ["cancelled", "debug", "info"],
    ["deadline-exceeded", "debug", "info"],
    ["unimplemented", "debug", "info"],
    ["unavailable", "warn", "warn"],
    ["resource-exhausted", "warn", "warn"],
  ] as const)("%s: %s when polled, else %s, and no stack", async (code, polled, otherwise) => {
    for (const [name, level] of [
      ["containerStatus", polled],
      ["createContainer", otherwise],
    ] as const) {
      expect((await call(name, code)).details).toBe("the top");
      const line = failureOf(name);
      expect(line).toMatchObject({ level, message: "the top" });
      expect(line.fields).not.toHaveProperty("err");
      expect(line.fields).toMatchObject({ error: code, causes: ["the middle", "the bottom"] });
      expect(JSON.stringify(line.fields)).not.toContain("wrap.test.ts");
    }
  });

  it.each(["internal", "launch-failed", "pull-failed"] as const)(
    "%s: an error, with its causes",
    async (code) => {
      await call("containerStatus", code);
      const { level, fields } = failureOf("containerStatus");
      expect(level).toBe("error");
      expect(fields.err).toMatchObject({ message: "the top", cause: { message: "the middle" } });
    },
  );

  it("an unforeseen error: an error, with an id that the answer shows and its words only here", async () => {
    const { details } = await call("createContainer", "unforeseen");
    expect(details).not.toContain("the top");
    const { level, fields } = failureOf("createContainer");
    expect(level).toBe("error");
    expect(details).toContain(String(fields.errorId));
    expect(fields.err).toMatchObject({ message: "the top" });
  });
});
