import { readFile } from "node:fs/promises";
import http, { type IncomingMessage } from "node:http";
import https from "node:https";
import { isAbsolute, join } from "node:path";
import { readDirectly } from "./direct-body.ts";
import type { RegistryHost } from "./hosts-toml.ts";

export interface HttpRequest {
  readonly method?: "GET" | "HEAD" | "POST";
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
  readonly signal: AbortSignal;
  /** So long may the other side stay silent before the answer's first byte. */
  readonly timeoutMs: number;
  /** The body is large: it will be had by takeBody, over a connection of its own. */
  readonly bulk?: boolean;
}

/** TLS of one host, its files read. */
export interface TlsFiles {
  readonly ca: readonly Buffer[];
  readonly cert: readonly Buffer[];
  readonly key: readonly Buffer[];
  readonly rejectUnauthorized: boolean;
}

/** `timeout`: an idle connection is closed after that; one in use is only told, and has limits of its own. */
const common = { keepAlive: true, maxSockets: 32, timeout: 5000, proxyEnv: process.env } as const;
const bulk = { ...common, keepAlive: false, onread: readDirectly } as const;

/** Connections, kept open between the requests of a pull, through the proxies that the environment names. */
export class Transport {
  readonly #plain = new http.Agent(common);
  readonly #bulk = new http.Agent(bulk);
  readonly #secure = new Map<string, https.Agent>();

  #agent(tls: TlsFiles, isBulk: boolean): https.Agent {
    const key = JSON.stringify([
      isBulk,
      tls.rejectUnauthorized,
      ...[tls.ca, tls.cert, tls.key].map((files) => files.map((file) => file.toString("base64"))),
    ]);
    let agent = this.#secure.get(key);
    if (agent === undefined) {
      agent = new https.Agent({
        ...(isBulk ? bulk : common),
        rejectUnauthorized: tls.rejectUnauthorized,
        ...(tls.ca.length > 0 ? { ca: [...tls.ca] } : {}),
        ...(tls.cert.length > 0 ? { cert: [...tls.cert], key: [...tls.key] } : {}),
      });
      this.#secure.set(key, agent);
    }
    return agent;
  }

  /** One request, no redirect followed. Rejects with Node's own error. */
  async send(url: URL, tls: TlsFiles, request: HttpRequest): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const secure = url.protocol === "https:";
    const isBulk = request.bulk === true;
    const headers: Record<string, string | string[]> = { "user-agent": "berth" };
    for (const [name, value] of Object.entries(request.headers ?? {})) {
      headers[name] = typeof value === "string" ? value : [...value];
    }
    const outgoing = (secure ? https : http).request(url, {
      method: request.method ?? "GET",
      headers,
      agent: secure ? this.#agent(tls, isBulk) : isBulk ? this.#bulk : this.#plain,
      signal: request.signal,
    });
    const timer = setTimeout(
      () => outgoing.destroy(new Error(`no answer within ${request.timeoutMs / 1000} s`)),
      request.timeoutMs,
    );
    outgoing.once("response", (answer) => {
      clearTimeout(timer);
      resolve(answer);
    });
    outgoing.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    outgoing.end(request.body);
    return await promise;
  }

  close(): void {
    this.#plain.destroy();
    this.#bulk.destroy();
    for (const agent of this.#secure.values()) {
      agent.destroy();
    }
  }
}

/** Reads the certificates that a host's entry names. */
export async function readTls(host: RegistryHost, directory: string): Promise<TlsFiles> {
  const read = async (names: readonly string[]): Promise<readonly Buffer[]> =>
    await Promise.all(names.map((name) => readFile(isAbsolute(name) ? name : join(directory, name))));
  return {
    ca: await read(host.ca),
    cert: await read(host.clients.map((client) => client.cert)),
    key: await read(host.clients.map((client) => client.key)),
    rejectUnauthorized: !host.skipVerify,
  };
}

/** The whole body, at most so many bytes; rejects when nothing comes for so long. */
export async function readBody(answer: IncomingMessage, maxBytes: number, stallMs: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => answer.destroy(new Error(`nothing came for ${stallMs / 1000} s`)), stallMs);
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      timer.refresh();
      length += chunk.length;
      if (length > maxBytes) {
        throw new Error(`the answer has more than ${maxBytes} bytes`);
      }
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks, length);
}

/** Lets the connection be used again without caring for the answer, if that is short and comes at once. */
export async function discardBody(answer: IncomingMessage): Promise<void> {
  await readBody(answer, 64 * 1024, 2000).catch(() => answer.destroy());
}
