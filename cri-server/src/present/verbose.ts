import type { Container } from "../model/container.ts";
import type { Sandbox } from "../model/sandbox.ts";

/** The `info` map of a verbose status: one JSON document, as crictl shows it. Environment values are left out: they hold secrets. */
export function sandboxInfo(sandbox: Sandbox): Record<string, string> {
  return {
    info: toJson({
      id: sandbox.id,
      cgroupParent: sandbox.cgroupParent,
      ...sandbox.status,
      config: sandbox.config,
    }),
  };
}

/** See sandboxInfo. */
export function containerInfo(container: Container): Record<string, string> {
  const { config, process, ...rest } = container;
  const pid = "pid" in container.status ? container.status.pid : 0;
  return {
    info: toJson({
      pid,
      ...rest,
      config: { ...config, envs: config.envs.map(({ key }) => key) },
      process: { cwd: process.cwd, oomScoreAdj: process.oomScoreAdj, apparmor: process.apparmor },
    }),
  };
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === "bigint" ? item.toString() : item));
}
