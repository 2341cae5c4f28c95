import { forgetFlows } from "../nft/conntrack.ts";
import type { PortOwner } from "../nft/host-ports.ts";
import { claimHostPorts, flowsOf, hostPortElements, ownerMark, releaseHostPorts } from "../nft/host-ports.ts";
import type { Address } from "../spec/address.ts";
import type { Context, Request } from "./context.ts";
import type { Undo } from "./undo.ts";

export function ownerOf(request: Request, hostLink: string): PortOwner {
  const { containerId, ifName } = request.call;
  return { hostLink, network: request.config.name, containerId, ifName };
}

/** Takes the host ports that the runtime asked for. */
export async function claimPorts(
  context: Context,
  request: Request,
  hostLink: string,
  addresses: readonly Address[],
  undo: Undo,
): Promise<void> {
  const mappings = request.config.runtime.portMappings ?? [];
  if (mappings.length === 0) return;
  const owner = ownerOf(request, hostLink);
  const elements = hostPortElements(mappings, addresses, ownerMark(owner));
  // Of a pod without a known device nobody can say that it is gone.
  const alive = async (name: string): Promise<boolean> =>
    name === "-" || (await context.host.findLink(name)) !== undefined;
  const lock = await context.lockTable();
  try {
    await claimHostPorts(context.table, elements, alive);
  } finally {
    await lock.release();
  }
  undo.push("free host ports", () => releaseHostPorts(context.table, owner, mappings));
  await forgetFlows(context.host, flowsOf(elements, false));
}

/** Gives back whatever host ports the attachment has; looks through all when the runtime does not say which. */
export async function releasePorts(context: Context, request: Request, hostLink: string): Promise<void> {
  const mappings = request.config.runtime.portMappings;
  if (mappings !== undefined && mappings.length === 0) return;
  const lock = await context.lockTable();
  try {
    const released = await releaseHostPorts(context.table, ownerOf(request, hostLink), mappings);
    await forgetFlows(context.host, flowsOf(released, true));
  } finally {
    await lock.release();
  }
}
