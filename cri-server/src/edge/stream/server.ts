import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { isIPv6, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import type { StreamConfig } from "../../config/config.ts";
import type { StreamRequest } from "../../domain/stream/requests.ts";
import { type ClientSession, runAttach, runExec } from "../../domain/stream/session.ts";
import { Tokens } from "../../domain/stream/tokens.ts";
import { BerthError } from "../../errors/berth-error.ts";
import type { Logger } from "../../ports/logger.ts";
import type { SessionRequest } from "../../ports/monitor.ts";
import type { PodDialer, StreamTargets } from "../../ports/stream-targets.ts";
import { IdleTimer } from "./idle-timer.ts";
import { negotiateForward, negotiateSession, type Refusal } from "./negotiate.ts";
import { servePortForward } from "./port-forward-session.ts";
import { acceptSpdySession } from "./spdy-session.ts";
import { type ByteTransport, socketTransport, webSocketTransport } from "./transport.ts";
import type { StreamUrls } from "./urls.ts";
import { WaitingRoom } from "./waiting-room.ts";
import { serveChannelForward } from "./ws-port-forward.ts";
import { WebSocketSession } from "./ws-session.ts";

export interface StreamServerDeps {
  readonly config: StreamConfig;
  readonly targets: StreamTargets;
  readonly dialer: PodDialer;
  readonly log: Logger;
}

/** The HTTP server behind the URLs of Exec, Attach and PortForward. */
export interface StreamServer extends StreamUrls {
  readonly baseUrl: string;
  /** Ends every session: what they run is killed as if their clients had gone. */
  close(): Promise<void>;
}

/** A client's message never has to be large: theirs are of 32 KiB. */
const maxMessageBytes = 4 * 1024 * 1024;
/** What may wait in the kernel's stead before a sender is told to wait. */
const socketBufferBytes = 256 * 1024;

async function makeHttpServer(config: StreamConfig): Promise<Server> {
  const options = {
    highWaterMark: socketBufferBytes,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  };
  if (config.tlsCert === "") {
    return createServer(options);
  }
  const [cert, key] = await Promise.all([readFile(config.tlsCert), readFile(config.tlsKey)]);
  return createTlsServer({ ...options, cert, key });
}

async function bind(server: Server, config: StreamConfig): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(config.port, config.address, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  if (address === null || typeof address === "string") {
    throw new BerthError("internal", `the streaming server listens on ${JSON.stringify(address)}`);
  }
  // A wildcard is no place to connect to; who wants others to connect has to name an address.
  const wildcard = address.address === "0.0.0.0" || address.address === "::";
  const host = wildcard ? (isIPv6(address.address) ? "::1" : "127.0.0.1") : address.address;
  return `${config.tlsCert === "" ? "http" : "https"}://${isIPv6(host) ? `[${host}]` : host}:${address.port}`;
}

/** Starts to listen. Rejects when the address is taken or a TLS file can't be read. */
export async function startStreamServer(deps: StreamServerDeps): Promise<StreamServer> {
  const http = await makeHttpServer(deps.config);
  const server = new UpgradeServer(http, deps);
  const baseUrl = await bind(http, deps.config);
  deps.log.info({ url: baseUrl }, "streaming server listens");
  return {
    baseUrl,
    issue: (request) => `${baseUrl}/${request.kind}/${server.tokens.put(request)}`,
    close: () => server.close(),
  };
}

type ForwardWanted = Extract<StreamRequest, { kind: "portforward" }>;
type SessionWanted = Exclude<StreamRequest, ForwardWanted>;

class UpgradeServer {
  readonly tokens = new Tokens<StreamRequest>();
  readonly #deps: StreamServerDeps;
  readonly #http: Server;
  readonly #webSockets: WebSocketServer;
  /** The WebSocket sub-protocols agreed upon. */
  readonly #chosen = new WeakMap<IncomingMessage, string>();
  readonly #sessions = new Map<Duplex, Promise<void>>();
  readonly #waiting = new WaitingRoom();

  constructor(http: Server, deps: StreamServerDeps) {
    this.#http = http;
    this.#deps = deps;
    this.#webSockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
      skipUTF8Validation: true,
    });
    // ws refuses the tunnel's name, in which the slash is not allowed (RFC 6455, 4.1): it is spared both names.
    this.#webSockets.on("headers", (headers, request) => {
      const protocol = this.#chosen.get(request);
      if (protocol !== undefined) {
        headers.push(`Sec-WebSocket-Protocol: ${protocol}`);
      }
    });
    http.on("connection", (socket: Socket) => this.#waiting.enter(socket));
    http.on("request", (_request, response) => {
      response.writeHead(400, { "content-type": "text/plain", connection: "close" });
      response.end("this is an endpoint for SPDY/3.1 and WebSocket upgrades\n");
    });
    http.on("upgrade", (request, socket: Duplex, head) => this.#upgrade(request, socket, head));
  }

  async close(): Promise<void> {
    this.#http.close();
    for (const socket of this.#sessions.keys()) {
      socket.destroy();
    }
    this.#http.closeAllConnections();
    await Promise.all(this.#sessions.values());
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const [, kind, token] = /^\/(exec|attach|portforward)\/([\w-]+)(?:\?.*)?$/.exec(request.url ?? "") ?? [];
    const wanted = token === undefined ? undefined : this.tokens.take(token);
    if (wanted === undefined || wanted.kind !== kind) {
      refuse(socket, {
        status: 404,
        message: "this URL is unknown, used, or more than a minute old",
        accepted: [],
      });
      return;
    }
    this.#waiting.leave(request.socket);
    const session = this.#serve(wanted, request, socket, head).catch((error: unknown) => {
      this.#deps.log.error({ err: error, kind }, "streaming session failed");
      socket.destroy();
    });
    this.#sessions.set(socket, session);
    void session.then(() => this.#sessions.delete(socket));
  }

  async #serve(wanted: StreamRequest, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const idle = new IdleTimer(this.#deps.config.idleTimeoutSeconds * 1000, () => socket.destroy());
    try {
      if (wanted.kind === "portforward") {
        await this.#forward(wanted, request, socket, head, idle.touch);
      } else {
        const client = await this.#openSession(wanted.streams, request, socket, head, idle.touch);
        await (client && this.#run(wanted, client));
      }
    } finally {
      idle.stop();
    }
  }

  async #openSession(
    streams: SessionRequest,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    touch: () => void,
  ): Promise<ClientSession | undefined> {
    const agreement = negotiateSession(request);
    if (agreement.upgrade === "refused") {
      refuse(socket, agreement);
      return undefined;
    }
    if (agreement.upgrade === "spdy") {
      const transport = switchToSpdy(socket, head, agreement.protocol);
      return await acceptSpdySession(transport, streams, agreement.protocol, touch);
    }
    const upgraded = await this.#switchToWebSocket(request, socket, head, agreement.protocol);
    return new WebSocketSession(upgraded, streams, agreement.protocol, touch);
  }

  async #run(wanted: SessionWanted, client: ClientSession): Promise<void> {
    const { targets } = this.#deps;
    try {
      if (wanted.kind === "exec") {
        await runExec(client, await targets.exec(wanted.containerId, wanted.command, wanted.streams));
      } else {
        await runAttach(client, await targets.attach(wanted.containerId, wanted.streams));
      }
    } catch (error) {
      this.#deps.log.warn({ err: error, container: wanted.containerId }, `${wanted.kind} failed`);
      const message =
        error instanceof BerthError ? error.message : "the server failed; its log has the cause";
      await client.finish({ kind: "failed", message });
    }
  }

  async #forward(
    wanted: ForwardWanted,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    touch: () => void,
  ): Promise<void> {
    const agreement = negotiateForward(request);
    if (agreement.upgrade === "refused") {
      refuse(socket, agreement);
      return;
    }
    const { netnsPath, sandboxId, ports } = wanted;
    const log = this.#deps.log.child({ sandbox: sandboxId });
    const deps = { dialer: this.#deps.dialer, netnsPath, log };
    if (agreement.upgrade === "spdy") {
      await servePortForward(switchToSpdy(socket, head, agreement.protocol), deps, touch);
      return;
    }
    const upgraded = await this.#switchToWebSocket(request, socket, head, agreement.protocol);
    if (agreement.upgrade === "channels") {
      await serveChannelForward(upgraded, agreement.protocol, ports, deps, touch);
    } else {
      await servePortForward(webSocketTransport(upgraded), deps, touch);
    }
  }

  #switchToWebSocket(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    protocol: string,
  ): Promise<WebSocket> {
    if (request.headers["sec-websocket-protocol"] !== undefined) {
      delete request.headers["sec-websocket-protocol"];
      this.#chosen.set(request, protocol);
    }
    return new Promise((resolve, reject) => {
      socket.once("close", () => reject(new Error("the client left during the WebSocket handshake")));
      this.#webSockets.handleUpgrade(request, socket, head, resolve);
    });
  }
}

/** The socket of an HTTP server is a net.Socket, or a TLS one, which is one too. */
function switchToSpdy(socket: Duplex, head: Buffer, protocol: string): ByteTransport {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  return socketTransport(socket as Socket, head);
}

function refuse(socket: Duplex, refusal: Pick<Refusal, "status" | "message" | "accepted">): void {
  const { status, message, accepted } = refusal;
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
    "Connection: close",
    "Content-Type: text/plain",
    `Content-Length: ${Buffer.byteLength(message) + 1}`,
    ...accepted.map((name) => `X-Accepted-Stream-Protocol-Versions: ${name}`),
  ];
  socket.on("error", () => socket.destroy());
  socket.end(`${lines.join("\r\n")}\r\n\r\n${message}\n`);
}
