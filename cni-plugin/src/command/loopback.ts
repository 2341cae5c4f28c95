import { linkOf, runSteps } from "../link/host.ts";
import { getLinkByName, IFF_UP, setLink } from "../link/rtnetlink.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Result } from "../spec/result.ts";
import { emptyResult } from "../spec/result.ts";
import type { Context, Request } from "./context.ts";
import { inPod } from "./in-pod.ts";

/** Brings the namespace's loopback up; its addresses come with that. */
export function addLoopback(context: Context, request: Request): Promise<Result> {
  return inPod(context, request, async (netns) => {
    const channel = context.host.enter(netns, () => undefined);
    try {
      await runSteps(channel, [{ action: "set lo up", message: setLink(1, { set: IFF_UP }) }]);
    } finally {
      channel.close();
    }
    if (request.config.prevResult !== undefined) return request.config.prevResult;
    return {
      ...emptyResult,
      interfaces: [{ name: "lo", mac: "00:00:00:00:00:00", sandbox: request.call.netns }],
      ips: [
        { family: 4, address: "127.0.0.1/8", interface: 0 },
        { family: 6, address: "::1/128", interface: 0 },
      ],
    };
  });
}

/** Takes it down again, as the reference plugin does; a namespace that is gone has none. */
export async function delLoopback(context: Context, request: Request): Promise<void> {
  if (request.call.netns === "") return;
  const netns = await context.host.openNetns(request.call.netns, request.netnsFd).catch(() => undefined);
  if (netns === undefined || netns.inode === context.host.inode) return netns?.close();
  try {
    const channel = context.host.enter(netns, () => undefined);
    try {
      await channel.request([setLink(1, { clear: IFF_UP })]);
    } finally {
      channel.close();
    }
  } finally {
    await netns.close();
  }
}

export function checkLoopback(context: Context, request: Request): Promise<void> {
  return inPod(context, request, async (netns) => {
    const channel = context.host.enter(netns, () => undefined);
    try {
      const link = linkOf((await channel.request([getLinkByName("lo")]))[0]);
      if (link?.up !== true) throw new CniError(codes.checkFailed, `lo is down in ${request.call.netns}`);
    } finally {
      channel.close();
    }
  });
}
