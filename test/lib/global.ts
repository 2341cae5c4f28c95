import type { ChildProcess } from "node:child_process";
import { removeLasting } from "./lasting.ts";
import { startRegistry, stopRegistry } from "./registry.ts";

let registry: ChildProcess | undefined;

/** For vitest: once before all files of a run. Outside hack/isolated there is no registry. */
export async function setup(): Promise<void> {
  if (process.env.BERTH_TEST_CGROUP !== undefined) registry = await startRegistry();
}

/** For vitest: once after all files of a run. */
export async function teardown(): Promise<void> {
  if (registry === undefined) return;
  await stopRegistry(registry);
  await removeLasting();
}
