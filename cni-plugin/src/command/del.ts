import { hostLinkName, networkKey } from "../link/names.ts";
import { shaperName } from "../link/shape.ts";
import { forgetFlows } from "../nft/conntrack.ts";
import { flowsOf, releaseHostPorts } from "../nft/host-ports.ts";
import { releaseAddresses } from "./addresses.ts";
import type { Context, Request } from "./context.ts";

/**
 * DEL: whatever is left of the attachment goes, and what is gone is no error. The address is given back last, when
 * nothing can send or receive with it any more.
 */
export async function del(context: Context, request: Request): Promise<void> {
  const { config, call } = request;
  const key = networkKey(config);
  const lock = await context.lockNetwork(key, "shared");
  try {
    const hostLink = hostLinkName(key, call.containerId, call.ifName);
    const mappings = config.runtime.portMappings;
    const ports = async (): Promise<void> => {
      if (mappings !== undefined && mappings.length === 0) return;
      const table = await context.lockTable();
      try {
        const released = await releaseHostPorts(context.table, hostLink, mappings);
        await forgetFlows(context.host, flowsOf(released, true));
      } finally {
        await table.release();
      }
    };
    await Promise.all([ports(), context.unlink.detach([hostLink, shaperName(hostLink)])]);
    await releaseAddresses(context, request);
  } finally {
    await lock.release();
  }
}
