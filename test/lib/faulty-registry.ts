import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What one answer of the proxy has wrong with it. */
export type Fault =
  | "none"
  | "refuse"
  | "cut"
  | "reset"
  | "flip"
  | "stall"
  | "429"
  | "500"
  | "503"
  | "html"
  | "no-range"
  | "short-length"
  | "endless"
  | "chunked"
  | "denied";

export interface Exchange {
  readonly path: string;
  readonly range: string | undefined;
  readonly fault: Fault;
}

/** Chooses the fault of each request. */
export type Choose = (path: string, range: string | undefined) => Fault;

/** Faults at random, the same for the same seed: `share` of all answers have one. */
export function seededFaults(seed: number, share: number, faults: readonly Fault[]): Choose {
  let state = seed >>> 0;
  const random = (): number => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
  return () => (random() < share ? (faults[Math.floor(random() * faults.length)] ?? "none") : "none");
}

/** A proxy in front of a registry that does what networks, caches and overloaded registries do. */
export class FaultyRegistry implements AsyncDisposable {
  readonly #server: Server;
  readonly #upstream: string;
  choose: Choose = () => "none";
  readonly exchanges: Exchange[] = [];

  private constructor(upstream: string) {
    this.#upstream = upstream;
    this.#server = createServer((incoming, answer) => this.#handle(incoming, answer));
  }

  static async start(upstream: string): Promise<FaultyRegistry> {
    const proxy = new FaultyRegistry(upstream);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Requests whose path has `part` in it. */
  seen(part: string): readonly Exchange[] {
    return this.exchanges.filter((one) => one.path.includes(part));
  }

  #handle(incoming: IncomingMessage, answer: ServerResponse): void {
    const path = incoming.url ?? "";
    const { range } = incoming.headers;
    const fault = this.choose(path, range);
    this.exchanges.push({ path, range, fault });
    if (fault === "refuse") {
      incoming.socket.destroy();
    } else if (fault === "429") {
      answer
        .writeHead(429, { "retry-after": "0" })
        .end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}');
    } else if (fault === "500" || fault === "503") {
      answer.writeHead(Number(fault)).end("overloaded");
    } else if (fault === "denied") {
      answer.writeHead(403).end('{"errors":[{"code":"DENIED","message":"no"}]}');
    } else if (fault === "html") {
      answer
        .writeHead(200, { "content-type": "text/html" })
        .end("<html>please log in to this network</html>");
    } else {
      this.#forward(incoming, answer, fault);
    }
  }

  #forward(incoming: IncomingMessage, answer: ServerResponse, fault: Fault): void {
    const headers = { ...incoming.headers, host: this.#upstream };
    if (fault === "no-range") delete headers.range;
    const upstream = request(`http://${this.#upstream}${incoming.url ?? ""}`, {
      method: incoming.method ?? "GET",
      headers,
    });
    upstream.on("error", () => answer.destroy());
    upstream.on("response", (got) => {
      const chunks: Buffer[] = [];
      got.on("data", (chunk: Buffer) => chunks.push(chunk));
      got.on("end", () => this.#send(answer, got, Buffer.concat(chunks), fault));
    });
    incoming.pipe(upstream);
  }

  #send(answer: ServerResponse, got: IncomingMessage, body: Buffer, fault: Fault): void {
    const half = Math.floor(body.length / 2);
    const headers = { ...got.headers };
    if (fault === "short-length") headers["content-length"] = String(half);
    if (fault === "endless" || fault === "chunked") delete headers["content-length"];
    answer.writeHead(got.statusCode ?? 500, headers);
    switch (fault) {
      case "cut":
        answer.write(body.subarray(0, half), () => answer.destroy());
        return;
      case "reset":
        answer.write(body.subarray(0, half), () => answer.socket?.resetAndDestroy());
        return;
      case "stall":
        answer.write(body.subarray(0, half));
        return;
      case "flip": {
        const wrong = Buffer.from(body);
        if (wrong.length > 0) wrong[half] = (wrong[half] ?? 0) ^ 1;
        answer.end(wrong);
        return;
      }
      case "short-length":
        answer.end(body.subarray(0, half));
        return;
      case "endless":
        answer.end(Buffer.concat([body, body]));
        return;
      default:
        answer.end(body);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
