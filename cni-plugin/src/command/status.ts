import { CniError, codes } from "../spec/errors.ts";
import type { Context, Request } from "./context.ts";

/** STATUS: passes when an ADD could work now. */
export async function status(context: Context, request: Request): Promise<void> {
  const { config, call, env } = request;
  const { ipam } = config;
  const bridge = await context.host.findLink(config.bridge);
  if (bridge !== undefined && bridge.kind !== "bridge") {
    throw new CniError(
      codes.notAvailable,
      `${config.bridge} exists and is a ${bridge.kind || "device"}, not a bridge`,
    );
  }
  if (bridge !== undefined && config.vlan !== undefined && bridge.vlanFiltering === undefined) {
    const message = "vlan and vlanTrunk need a kernel with CONFIG_BRIDGE_VLAN_FILTERING";
    throw new CniError(codes.notAvailable, message);
  }
  if (ipam?.kind === "foreign") await context.delegate(ipam.type, call, env, config);
  if (ipam?.kind !== "built-in") return;
  const pool = await context.pool(ipam.dataDir, config.name);
  for (const [index, { used, size }] of (await pool.counts(ipam)).entries()) {
    if (BigInt(used) >= size) {
      throw new CniError(
        codes.notAvailable,
        `no address left in ipam.ranges[${index}]: ${used} of ${size} in use (${pool.store.directory})`,
      );
    }
  }
}
