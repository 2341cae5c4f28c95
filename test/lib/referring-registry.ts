import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { registryAddress } from "./registry.ts";

/** How a registry answers the question for referrers. */
export interface ReferrersAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** The tests' registry with a list of referrers (OCI distribution 1.1), which Debian's does not have, and without its tags. */
export class ReferringRegistry implements AsyncDisposable {
  readonly #server: Server;
  answer: ReferrersAnswer = { status: 404, type: "text/plain", body: "" };
  /** Whether the list under a tag is there too. */
  hasTags = false;

  private constructor() {
    this.#server = createServer((incoming, answer) => {
      this.#handle(incoming, answer).catch((error: unknown) => answer.destroy(error as Error));
    });
  }

  static async start(): Promise<ReferringRegistry> {
    const registry = new ReferringRegistry();
    await new Promise<void>((resolve) => registry.#server.listen(0, "127.0.0.1", resolve));
    return registry;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #handle(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const path = incoming.url ?? "";
    if (path.includes("/referrers/")) {
      answer.writeHead(this.answer.status, { "content-type": this.answer.type }).end(this.answer.body);
      return;
    }
    if (!this.hasTags && /\/manifests\/sha256-[0-9a-f]{64}(?:\?|$)/.test(path)) {
      answer.writeHead(404).end();
      return;
    }
    const { accept = "*/*" } = incoming.headers;
    const method = incoming.method ?? "GET";
    const upstream = await fetch(`http://${registryAddress}${path}`, { method, headers: { accept } });
    const kept = ["content-type", "docker-content-digest"].flatMap((name) => {
      const value = upstream.headers.get(name);
      return value === null ? [] : [[name, value] as const];
    });
    answer
      .writeHead(upstream.status, Object.fromEntries(kept))
      .end(Buffer.from(await upstream.arrayBuffer()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
