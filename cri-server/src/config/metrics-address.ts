import { BlockList, isIP } from "node:net";
import { BerthError } from "../errors/berth-error.ts";

/** Where metrics are served. */
export type MetricsAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/**
 * Reads `127.0.0.1:9100`, `[::1]:9100` or an absolute path; "" is none. The endpoint asks nobody who he is, so other addresses
 * than the loopback's are refused: what is to be seen from outside goes through a proxy that does.
 */
export function parseMetricsAddress(text: string): MetricsAddress | undefined {
  if (text === "") {
    return undefined;
  }
  const path = text.startsWith("unix://") ? text.slice("unix://".length) : text;
  if (path.startsWith("/")) {
    return { kind: "unix", path };
  }
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? "";
  if (port === undefined || Number(port) > 65535 || isIP(host) === 0) {
    throw wrong(text, "not IP:PORT or an absolute path");
  }
  if (!loopback.check(host, isIP(host) === 6 ? "ipv6" : "ipv4")) {
    throw wrong(text, "not an address of the loopback interface");
  }
  return { kind: "tcp", host, port: Number(port) };
}

function wrong(text: string, why: string): BerthError {
  return new BerthError("invalid-argument", `option metrics.address ${JSON.stringify(text)}: ${why}`);
}
