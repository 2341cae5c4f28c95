import { rm } from "node:fs/promises";
import { outcomeOf, run } from "./command.ts";

/**
 * Removes what servers leave on purpose, because the next pod needs it again: the bridges of hack/serve, the plugin's
 * table and its lock files. For the end of a run that has a network namespace of its own.
 */
export async function removeLasting(): Promise<void> {
  for (const line of (await run("ip", ["-o", "link", "show", "type", "bridge"])).split("\n")) {
    const name = line.split(": ")[1];
    if (name !== undefined && /^(berth[0-9a-f]{6}|owned0)$/.test(name))
      await run("ip", ["link", "delete", name]);
  }
  await outcomeOf("nft", ["delete", "table", "inet", "berth"]);
  await rm("/run/berth", { recursive: true, force: true });
  // ip-netns(8) makes its folder a mount of its own and leaves that.
  await outcomeOf("umount", ["/run/netns"]);
  await rm("/run/netns", { recursive: true, force: true });
}
