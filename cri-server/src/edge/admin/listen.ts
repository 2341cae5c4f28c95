import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { ExplainDeps } from "../../domain/explain/deps.ts";
import type { FsckDeps } from "../../domain/fsck/defect.ts";
import { BerthError } from "../../errors/berth-error.ts";
import type { ImageAdmin } from "../../ports/image-admin.ts";
import type { Images } from "../../ports/images.ts";
import type { Logger } from "../../ports/logger.ts";
import { failureFields, failureLevel } from "../grpc/failure-line.ts";
import { type AdminCall, routes } from "./routes.ts";

const maxBodyBytes = 1024 * 1024;

export interface AdminDeps {
  readonly images: Images & ImageAdmin;
  /** What explanations and checks are made from. */
  readonly operator: ExplainDeps & FsckDeps;
  readonly log: Logger;
}

export interface AdminServer {
  close(): Promise<void>;
}

/**
 * The operator's interface, for the `berth` command: JSON over HTTP on a socket that only root can open. It is no stable
 * interface for others; the two programs are of one version.
 */
export async function startAdminServer(path: string, deps: AdminDeps): Promise<AdminServer> {
  const server = createServer((request, response) => {
    answer(request, response, deps).catch((error: unknown) => {
      deps.log.warn({ err: error }, "an answer to the berth command failed");
      response.destroy();
    });
  });
  // A save or a pull may take as long as it takes.
  server.requestTimeout = 0;
  await rm(path, { force: true });
  server.listen(path);
  await once(server, "listening");
  await chmod(path, 0o600);
  return {
    close: async () => {
      server.close();
      server.closeAllConnections();
      await rm(path, { force: true });
    },
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, deps: AdminDeps): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort(new BerthError("cancelled", "the command has ended")));
  const route = request.method === "POST" ? routes.get(request.url ?? "") : undefined;
  try {
    if (route === undefined) {
      throw new BerthError(
        "unimplemented",
        `${request.method} ${request.url} is not known: is the command of another version?`,
      );
    }
    const call: AdminCall = {
      arguments: await readArguments(request),
      signal: gone.signal,
      send: async (value) => await write(response, `${JSON.stringify(value, plainNumbers)}\n`),
      sendBytes: async (bytes) => await write(response, bytes),
    };
    await route(deps, call);
    response.end();
  } catch (error) {
    report(response, error, deps.log);
  }
}

/** Sizes fit into what JSON has. */
function plainNumbers(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? Number(value) : value;
}

async function readArguments(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBodyBytes) {
      throw new BerthError("invalid-argument", "the request is too long");
    }
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8") || "{}") as Record<string, unknown>;
  } catch (cause) {
    throw new BerthError("invalid-argument", "the request is not JSON", { cause });
  }
}

async function write(response: ServerResponse, data: string | Buffer): Promise<void> {
  if (!response.write(data)) {
    await Promise.race([once(response, "drain"), once(response, "close")]);
  }
  if (response.destroyed) {
    throw new BerthError("cancelled", "the command has ended");
  }
}

/** Before the first byte an error is the status; after it, the end of the connection. */
function report(response: ServerResponse, error: unknown, log: Logger): void {
  const known =
    error instanceof BerthError
      ? error
      : new BerthError("internal", "a fault of the server; see its log", { cause: error });
  if (known.code !== "cancelled") {
    const level = failureLevel(known.grpcStatus, false);
    log[level](failureFields(error, level), `a command failed: ${known.message}`);
  }
  if (response.headersSent) {
    response.end(`${JSON.stringify({ error: { code: known.code, message: known.message } })}\n`);
    return;
  }
  response.writeHead(known.code.endsWith("-not-found") ? 404 : 400, { "content-type": "application/json" });
  response.end(JSON.stringify({ code: known.code, message: known.message }));
}
