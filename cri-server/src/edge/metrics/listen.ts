import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { MetricsAddress } from "../../config/metrics-address.ts";
import type { Logger } from "../../ports/logger.ts";
import { type MetricName, metrics } from "./definitions.ts";
import { Meter } from "./meter.ts";
import { MetricSet } from "./metric-set.ts";
import { PresentState, type StateDeps } from "./present-state.ts";

/** What counts, and what serves it once there is something to serve. */
export interface Metrics {
  readonly telemetry: Meter;
  /** Starts to listen. Rejects when the address is taken. */
  serve(address: MetricsAddress, deps: StateDeps, log: Logger): Promise<MetricsServer>;
}

export interface MetricsServer {
  close(): Promise<void>;
}

/** Counts from now on. */
export function createMetrics(): Metrics {
  const set = new MetricSet<MetricName>(metrics);
  return {
    telemetry: new Meter(set),
    serve: async (address, deps, log) => await serve(set, address, deps, log),
  };
}

async function serve(
  set: MetricSet<MetricName>,
  address: MetricsAddress,
  deps: StateDeps,
  log: Logger,
): Promise<MetricsServer> {
  const state = new PresentState(deps, set);
  const http = createServer((request, response) => {
    answer(request, response, async () => {
      await state.read();
      return set.render();
    }).catch((error: unknown) => {
      log.error({ err: error }, "metrics could not be read");
      response.statusCode = 500;
      response.end();
    });
  });
  await bind(http, address);
  log.info({ address: address.kind === "unix" ? address.path : http.address() }, "metrics are served");
  return {
    close: async () => {
      state.close();
      http.close();
      http.closeAllConnections();
      if (address.kind === "unix") {
        await rm(address.path, { force: true });
      }
    },
  };
}

async function bind(http: Server, address: MetricsAddress): Promise<void> {
  if (address.kind === "tcp") {
    http.listen(address.port, address.host);
    await once(http, "listening");
    return;
  }
  // Of a server that was killed: only one server has this state directory, so nobody else serves there.
  await rm(address.path, { force: true });
  http.listen(address.path);
  await once(http, "listening");
  await chmod(address.path, 0o660);
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  render: () => Promise<string>,
): Promise<void> {
  const isRead = request.method === "GET" || request.method === "HEAD";
  if (!isRead || request.url?.split("?")[0] !== "/metrics") {
    response.writeHead(isRead ? 404 : 405, { "content-type": "text/plain" });
    response.end("metrics are at GET /metrics\n");
    return;
  }
  const text = await render();
  response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  response.end(request.method === "HEAD" ? "" : text);
}
