import { errnos } from "../kernel/libc.ts";
import { setSysctl } from "../link/bridge.ts";
import { refusal } from "../link/channel.ts";
import type { Netns } from "../link/host.ts";
import { linkOf } from "../link/host.ts";
import { hostLinkName, networkKey } from "../link/names.ts";
import type { Link } from "../link/rtnetlink.ts";
import { getLinkByName, ifInfo, rtm } from "../link/rtnetlink.ts";
import { limitBandwidth, shaperName } from "../link/shape.ts";
import { sharedChains } from "../nft/ruleset.ts";
import { parsePrefix } from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Result } from "../spec/result.ts";
import { checkPorts } from "./check.ts";
import type { Context, Request } from "./context.ts";
import { inPod } from "./in-pod.ts";
import { claimPorts, releasePorts } from "./ports.ts";

interface HostSide {
  /** The other end of the pod's interface; undefined when that is no veth. */
  readonly link: Link | undefined;
  /** By which device packets come from the pod: the bridge, or the link itself. */
  readonly device: string | undefined;
}

async function linkByIndex(context: Context, index: number): Promise<Link | undefined> {
  const [reply] = await context.host.route.request([{ type: rtm.getLink, flags: 0, body: ifInfo(index) }]);
  if (reply !== undefined && reply.errno !== 0 && reply.errno !== errnos.ENODEV) {
    throw refusal("find the host's end of the link", reply);
  }
  return linkOf(reply);
}

async function findHostSide(context: Context, request: Request, netns: Netns): Promise<HostSide> {
  const channel = context.host.enter(netns, () => undefined);
  let pod: Link | undefined;
  try {
    pod = linkOf((await channel.request([getLinkByName(request.call.ifName)]))[0]);
  } finally {
    channel.close();
  }
  if (pod === undefined) {
    throw new CniError(codes.invalidEnvironment, `${request.call.ifName} is not in ${request.call.netns}`);
  }
  const link = pod.kind === "veth" && pod.peer !== 0 ? await linkByIndex(context, pod.peer) : undefined;
  const master =
    link === undefined || link.master === 0 ? undefined : await linkByIndex(context, link.master);
  return { link, device: master?.name ?? link?.name };
}

async function publish(context: Context, device: string | undefined): Promise<void> {
  const lock = await context.lockTable();
  try {
    await context.table.ensure(sharedChains, [], device);
  } finally {
    await lock.release();
  }
  if (device !== undefined) await setSysctl(`ipv4/conf/${device}/route_localnet`, "1");
}

/** Ports and limits for the interface that an earlier plugin made. The result passes through. */
export function addToChain(context: Context, request: Request): Promise<Result> {
  const { config } = request;
  const result = config.prevResult;
  if (result === undefined) {
    throw new CniError(
      codes.invalidConfig,
      `${config.type} has to come after the plugin that makes the interface`,
    );
  }
  return inPod(context, request, async (netns, undo) => {
    const { portMappings, bandwidth } = config.runtime;
    if ((portMappings?.length ?? 0) === 0 && bandwidth === undefined) return result;
    const { link, device } = await findHostSide(context, request, netns);
    if (bandwidth !== undefined) {
      if (link === undefined) throw new CniError(codes.unsupportedField, "bandwidth needs a veth interface");
      const name = ownShaper(request);
      undo.push(`remove ${name}`, () => context.unlink.detach([name]));
      await limitBandwidth(context.host, link, name, bandwidth);
    }
    if ((portMappings?.length ?? 0) > 0) {
      await publish(context, device);
      const addresses = result.ips.map((ip) => parsePrefix(ip.address, "prevResult.ips").address);
      await claimPorts(context, request, link?.name ?? "-", addresses, undo);
    }
    return result;
  });
}

function ownShaper(request: Request): string {
  const { config, call } = request;
  return shaperName(hostLinkName(networkKey(config), call.containerId, call.ifName));
}

export async function delFromChain(context: Context, request: Request): Promise<void> {
  const lock = await context.lockNetwork(networkKey(request.config), "shared");
  try {
    await releasePorts(context, request, "-");
    await context.unlink.detach([ownShaper(request)]);
  } finally {
    await lock.release();
  }
}

export async function checkInChain(context: Context, request: Request): Promise<void> {
  const result = request.config.prevResult;
  if (result === undefined) throw new CniError(codes.invalidConfig, "CHECK needs prevResult");
  await checkPorts(context, request, result);
}
