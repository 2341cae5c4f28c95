import type { Netns } from "../link/host.ts";
import { networkKey } from "../link/names.ts";
import { asCniError, CniError, codes } from "../spec/errors.ts";
import type { Context, Request } from "./context.ts";
import { Undo } from "./undo.ts";

/**
 * Opens the pod's namespace, keeps GC away, and undoes everything when `work` fails. The plugin's own namespace is
 * refused before anything is done.
 */
export async function inPod<T>(
  context: Context,
  request: Request,
  work: (netns: Netns, undo: Undo) => Promise<T>,
): Promise<T> {
  const { call, config } = request;
  const netns = await context.host.openNetns(call.netns, request.netnsFd);
  try {
    if (netns.inode === context.host.inode && !call.netnsOverride) {
      const message = `CNI_NETNS "${call.netns}" is the plugin's own network namespace`;
      throw new CniError(codes.invalidNetns, message);
    }
    const lock = await context.lockNetwork(networkKey(config), "shared");
    try {
      const undo = new Undo();
      try {
        return await work(netns, undo);
      } catch (error) {
        throw await undo.after(asCniError(error));
      }
    } finally {
      await lock.release();
    }
  } finally {
    await netns.close();
  }
}
