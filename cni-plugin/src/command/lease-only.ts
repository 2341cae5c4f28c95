import { stat } from "node:fs/promises";
import { networkKey } from "../link/names.ts";
import { formatAddress, formatPrefix } from "../spec/address.ts";
import { asCniError, CniError, codes } from "../spec/errors.ts";
import type { BuiltInIpam } from "../spec/ipam-config.ts";
import type { Result } from "../spec/result.ts";
import { allocate, ownerOf, proofOf, releaseAddresses } from "./addresses.ts";
import type { Context, Request } from "./context.ts";
import { Undo } from "./undo.ts";

function builtIn(request: Request): BuiltInIpam {
  const { ipam } = request.config;
  if (ipam?.kind !== "built-in")
    throw new CniError(codes.invalidConfig, "ipam has no ranges to give addresses out of");
  return ipam;
}

/** Addresses for an interface that another plugin makes. */
export async function addLeases(context: Context, request: Request): Promise<Result> {
  const ipam = builtIn(request);
  const lock = await context.lockNetwork(networkKey(request.config), "shared");
  try {
    const undo = new Undo();
    try {
      // What proves that the lease lives is the namespace alone.
      const inode = await stat(request.call.netns, { bigint: true }).then(
        (found) => found.ino,
        () => 0n,
      );
      const { addresses, routes, dns } = await allocate(
        context,
        request,
        ipam,
        proofOf(context, request, inode, ""),
        undo,
      );
      return {
        interfaces: [],
        ips: addresses.map(({ prefix, gateway }) => ({
          family: prefix.address.family,
          address: formatPrefix(prefix),
          ...(gateway === undefined ? {} : { gateway: formatAddress(gateway) }),
        })),
        routes,
        dns,
      };
    } catch (error) {
      throw await undo.after(asCniError(error));
    }
  } finally {
    await lock.release();
  }
}

export async function delLeases(context: Context, request: Request): Promise<void> {
  const lock = await context.lockNetwork(networkKey(request.config), "shared");
  try {
    await releaseAddresses(context, request);
  } finally {
    await lock.release();
  }
}

export async function checkLeaseExists(context: Context, request: Request): Promise<void> {
  const pool = await context.pool(builtIn(request).dataDir, request.config.name);
  const { containerId, ifName } = ownerOf(request);
  const leases = await pool.store.list();
  const found = leases.some(
    ({ owner }) => owner?.containerId === containerId && ["", ifName].includes(owner.ifName),
  );
  if (!found)
    throw new CniError(
      codes.checkFailed,
      `container ${containerId} has no address of ${request.config.name}`,
    );
}
