import type { KeyValue, ContainerConfig as Message } from "../../../proto/gen/api.ts";
import type { ContainerConfig } from "../model/container.ts";
import type { NamespaceOptions } from "../model/namespaces.ts";
import type { Check } from "./check.ts";
import { absolutePath, climbs, complain, hasControl, invalid, required, runChecks } from "./check.ts";
import { toCdiDevices, toDevices } from "./devices.ts";
import { copyMap, mapSize } from "./labels.ts";
import { toMounts } from "./mounts.ts";
import { toResources } from "./resources.ts";
import { toSecurityContext } from "./security-context.ts";
import { toLinuxSignal } from "./signals.ts";

const checks: readonly Check<Message>[] = [
  ({ metadata }) => (metadata === undefined ? "config.metadata: is missing" : undefined),
  ({ metadata }) => (metadata?.name === "" ? complain("config.metadata.name", "", "is empty") : undefined),
  ({ metadata }) =>
    hasControl(metadata?.name ?? "") || Buffer.byteLength(metadata?.name ?? "") > 1024
      ? complain(
          "config.metadata.name",
          metadata?.name,
          "has a NUL or line break in it or is longer than 1024",
        )
      : undefined,
  ({ image }) =>
    (image?.image ?? "") === "" ? complain("config.image.image", image?.image ?? "", "is empty") : undefined,
  ({ command, args }) => {
    const bad = [...command, ...args].find((word) => word.includes("\0"));
    return bad === undefined ? undefined : complain("config.command", bad, "has a NUL in it");
  },
  ({ command }) =>
    command[0] === "" ? complain("config.command", command, "the program's name is empty") : undefined,
  ({ workingDir }) => (workingDir === "" ? undefined : absolutePath("config.working_dir", workingDir)),
  ({ logPath }) =>
    logPath.startsWith("/") || climbs(logPath) || hasControl(logPath)
      ? complain("config.log_path", logPath, "not a path below the sandbox's log_directory")
      : undefined,
  ({ labels }) => mapSize("config.labels", labels),
  ({ annotations }) => mapSize("config.annotations", annotations),
  ({ stdin, stdinOnce }) =>
    stdinOnce && !stdin ? complain("config.stdin_once", true, "stdin has to be set with it") : undefined,
  ({ windows }) => (windows === undefined ? undefined : "config.windows: this runtime runs Linux containers"),
];

/** CreateContainerRequest.config as the domain has it. `pod`: the sandbox's namespace options. */
export function toContainerConfig(message: Message | undefined, pod: NamespaceOptions): ContainerConfig {
  const config = required(message, "config");
  runChecks(config, checks);
  const stopSignal = toLinuxSignal(config.stopSignal);
  return {
    metadata: { name: config.metadata?.name ?? "", attempt: config.metadata?.attempt ?? 0 },
    image: config.image?.image ?? "",
    userSpecifiedImage: config.image?.userSpecifiedImage ?? "",
    command: [...config.command],
    args: [...config.args],
    workingDir: config.workingDir,
    envs: config.envs.map(toEnv),
    mounts: toMounts(config.mounts),
    devices: toDevices(config.devices),
    cdiDevices: toCdiDevices(config.CDIDevices, config.annotations),
    labels: copyMap(config.labels),
    annotations: copyMap(config.annotations),
    logPath: config.logPath,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    tty: config.tty,
    ...(stopSignal === undefined ? {} : { stopSignal }),
    resources: toResources(config.linux?.resources),
    security: toSecurityContext(config.linux?.securityContext, pod),
  };
}

/** Values are bytes (cri-api 0.37): latin1 keeps each of them. */
function toEnv({ key, value }: KeyValue): { readonly key: string; readonly value: string } {
  if (key === "" || key.includes("=") || key.includes("\0")) {
    throw invalid("config.envs.key", key, "is empty or has = or NUL in it");
  }
  const text = value.toString("latin1");
  if (text.includes("\0")) {
    throw invalid(`config.envs ${JSON.stringify(key)}`, `${text.length} bytes`, "has a NUL in it");
  }
  if (key === "HOME" && /[\r\n]/.test(text)) {
    throw invalid('config.envs "HOME"', text, "has a line break in it");
  }
  return { key, value: text };
}
