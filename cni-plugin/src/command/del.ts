import { hostLinkName, networkKey } from "../link/names.ts";
import { shaperName } from "../link/shape.ts";
import { releaseAddresses } from "./addresses.ts";
import type { Context, Request } from "./context.ts";
import { leaveNamespace } from "./namespaces.ts";
import { releasePorts } from "./ports.ts";

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
    await Promise.all([
      releasePorts(context, request, hostLink),
      leaveNamespace(context, request, hostLink),
      context.unlink.detach([hostLink, shaperName(hostLink)]),
    ]);
    await releaseAddresses(context, request);
  } finally {
    await lock.release();
  }
}
