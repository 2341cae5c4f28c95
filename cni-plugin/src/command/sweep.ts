import { stat } from "node:fs/promises";
import type { Lease } from "../ipam/lease-store.ts";
import type { Pool } from "../ipam/pool.ts";
import { linkOfShaper } from "../link/shape.ts";
import { linkOfOwner } from "../nft/host-ports.ts";
import { podSets } from "../nft/ruleset.ts";
import { formatAddress } from "../spec/address.ts";
import type { Context } from "./context.ts";
import { sweepNamespaces } from "./namespaces.ts";

/** Why a lease means nothing any more; undefined while it may. */
async function deathOf(
  context: Context,
  lease: Lease,
  links: ReadonlySet<string>,
  oldEnough: number,
): Promise<string | undefined> {
  if (lease.proof !== undefined && lease.proof.boot !== context.boot) return "of an earlier boot";
  // An ADD under way has its lease before its link.
  if (Date.now() - lease.modifiedMs < oldEnough) return undefined;
  if (lease.owner === undefined) return "empty or torn file";
  const { proof } = lease;
  // Another program's lease: only its own DEL or a GC with a list can tell.
  if (proof === undefined) return undefined;
  if (proof.hostLink !== "") return links.has(proof.hostLink) ? undefined : `${proof.hostLink} is gone`;
  const inode = await stat(proof.netns, { bigint: true }).then(
    (found) => String(found.ino),
    () => "",
  );
  return inode === proof.netnsInode ? undefined : `${proof.netns} is gone`;
}

/**
 * Frees addresses of the bridge's pods that a crash, a reboot or a lost DEL has left. Returns what was freed.
 * @param oldEnough milliseconds; 0 for a caller that has the network's lock alone, so that no ADD is under way.
 */
export async function sweepLeases(
  context: Context,
  pool: Pool,
  bridge: string,
  oldEnough: number,
): Promise<readonly string[]> {
  const leases = await pool.store.list();
  const links = new Set((await context.host.listLinks()).map((link) => link.name));
  const freed: string[] = [];
  for (const lease of leases) {
    if (lease.proof !== undefined && lease.proof.bridge !== bridge) continue;
    const death = await deathOf(context, lease, links, oldEnough);
    if (death === undefined) continue;
    await pool.reap(lease.address, lease.owner);
    freed.push(`${formatAddress(lease.address)} (${death})`);
  }
  return freed;
}

/** Frees host ports and places in namespaces whose pod's link is gone. A link exists before its ports and ends after them. */
export async function sweepElements(context: Context): Promise<number> {
  const lock = await context.lockTable();
  try {
    const elements = await context.table.list(podSets);
    const links = new Set((await context.host.listLinks()).map((link) => link.name));
    const dead = elements.filter(({ owner }) => linkOfOwner(owner) !== "-" && !links.has(linkOfOwner(owner)));
    await context.table.remove(dead);
    await sweepNamespaces(context);
    await context.table.sweepDevices(links);
    return dead.length;
  } finally {
    await lock.release();
  }
}

/** Removes shaping devices whose pod's link is gone: unlike the link they don't end with the pod's namespace. */
export async function sweepShapers(context: Context): Promise<void> {
  const links = await context.host.listLinks();
  const present = new Set(links.map((link) => link.name));
  const orphans = links.filter((link) => {
    const shaped = linkOfShaper(link.alias);
    return shaped !== undefined && !present.has(shaped);
  });
  if (orphans.length > 0) await context.unlink.detach(orphans.map((link) => link.name));
}
