import type { NetConfig } from "./config.ts";
import { CniError, codes } from "./errors.ts";

/**
 * What the plugin is to do. It can stand in for several plugins of the reference set, by a link of that name; under its
 * own name it tells from the configuration.
 *
 * - attach: make the interface, with addresses, rules, ports and limits (type berth or bridge)
 * - adjust: ports and limits for an interface that an earlier plugin of the chain made (portmap, bandwidth, or berth
 *   without an ipam section behind another plugin)
 * - addresses: allocate, for a plugin that makes the interface by itself (called as ipam.type)
 * - loopback: bring lo up
 */
export type Role = "attach" | "adjust" | "addresses" | "loopback";

const byType: Readonly<Record<string, Role>> = {
  berth: "attach",
  bridge: "attach",
  portmap: "adjust",
  bandwidth: "adjust",
  loopback: "loopback",
};

/** @param invokedAs the file name of the executable, "" when there is none. */
export function roleOf(config: NetConfig, invokedAs: string): Role {
  if (invokedAs === "host-local") return "addresses";
  const name = invokedAs in byType && invokedAs !== "berth" ? invokedAs : config.type;
  const role = byType[name];
  if (role === "attach" && config.prevResult !== undefined && config.ipam === undefined) return "adjust";
  if (role !== undefined) return role;
  if (config.ipam?.kind === "built-in") return "addresses";
  throw new CniError(
    codes.invalidConfig,
    `type "${config.type}" is none of ${Object.keys(byType).join(", ")}`,
  );
}
