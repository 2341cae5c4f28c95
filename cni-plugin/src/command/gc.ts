import { hostLinkName, networkKey, parseAlias } from "../link/names.ts";
import { shaperName } from "../link/shape.ts";
import { contains } from "../spec/address.ts";
import type { Attachment } from "../spec/config.ts";
import { asCniError, CniError, codes } from "../spec/errors.ts";
import type { BuiltInIpam } from "../spec/ipam-config.ts";
import type { Context, Request } from "./context.ts";
import { sweepElements, sweepLeases, sweepShapers } from "./sweep.ts";

function isValid(valid: readonly Attachment[], containerId: string, ifName: string): boolean {
  return valid.some(
    (entry) => entry.containerId === containerId && (ifName === "" || entry.ifName === ifName),
  );
}

async function collectLinks(context: Context, request: Request, valid: readonly Attachment[]): Promise<void> {
  const key = networkKey(request.config);
  const links = await context.host.listLinks();
  for (const link of links) {
    const owner = parseAlias(link.alias);
    if (owner === undefined || owner.network !== key.name) continue;
    // The name proves the bridge as well: another server's network may have the same name.
    if (link.name !== hostLinkName(key, owner.containerId, owner.ifName)) continue;
    if (!isValid(valid, owner.containerId, owner.ifName)) {
      await context.unlink.detach([link.name, shaperName(link.name)]);
    }
  }
}

async function collectLeases(
  context: Context,
  request: Request,
  ipam: BuiltInIpam,
  valid: readonly Attachment[],
): Promise<void> {
  const { config } = request;
  const pool = await context.pool(ipam.dataDir, config.name);
  for (const lease of await pool.store.list()) {
    if (lease.proof !== undefined && lease.proof.bridge !== config.bridge) continue;
    if (!ipam.sets.flat().some((range) => contains(range.subnet, lease.address))) continue;
    if (lease.owner !== undefined && isValid(valid, lease.owner.containerId, lease.owner.ifName)) continue;
    await pool.reap(lease.address, lease.owner);
  }
}

/** GC: frees what belongs to no valid attachment; without a list only what is proven dead. Goes on after errors. */
export async function gc(context: Context, request: Request): Promise<void> {
  const { config, call, env } = request;
  const { ipam } = config;
  const valid = config.validAttachments;
  const errors: CniError[] = [];
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      errors.push(asCniError(error));
    }
  };
  const lock = await context.lockNetwork(networkKey(config), "exclusive");
  try {
    if (valid !== undefined) await attempt(() => collectLinks(context, request, valid));
    if (ipam?.kind === "built-in") {
      if (valid !== undefined) await attempt(() => collectLeases(context, request, ipam, valid));
      await attempt(async () => {
        await sweepLeases(context, await context.pool(ipam.dataDir, config.name), config.bridge, 0);
      });
    }
    await attempt(() => sweepShapers(context));
    await attempt(() => context.unlink.purge());
    await attempt(() => sweepElements(context));
    if (ipam?.kind === "foreign") await attempt(() => context.delegate(ipam.type, call, env, config));
  } finally {
    await lock.release();
  }
  const [first, ...others] = errors;
  if (first === undefined) return;
  throw new CniError(first.code === codes.internal ? codes.io : first.code, first.message, {
    details: [first.details, ...others.map((error) => error.message)]
      .filter((text) => text !== "")
      .join("; "),
    cause: first,
  });
}
