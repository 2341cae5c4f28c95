import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Berthd } from "./berthd.ts";
import { cgroupVersion } from "./kernel.ts";

/** Whether limits of this controller can be set here at all. */
export function hasController(name: string): boolean {
  if (cgroupVersion === 1) return existsSync(join("/sys/fs/cgroup", name));
  return readFileSync("/sys/fs/cgroup/cgroup.controllers", "utf8").split(/\s+/).includes(name);
}

/** Reads a file of a container's own group, as the kernel has it now. */
export async function containerGroup(server: Berthd, containerId: string): Promise<(file: string) => string> {
  const { info } = await server.runtime.containerStatus({ containerId, verbose: true });
  const { cgroupPath } = JSON.parse(info.info ?? "{}") as { readonly cgroupPath: string };
  return (file) => {
    const hierarchy = cgroupVersion === 1 ? file.slice(0, file.indexOf(".")) : "";
    return readFileSync(join("/sys/fs/cgroup", hierarchy, cgroupPath, file), "utf8").trim();
  };
}
