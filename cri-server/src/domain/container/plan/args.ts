import { BerthError } from "../../../errors/berth-error.ts";
import type { ContainerConfig } from "../../../model/container.ts";
import type { ImageConfig } from "../../../model/image.ts";

/**
 * The argument vector. A command replaces the image's ENTRYPOINT and CMD, arguments alone replace its CMD only
 * (CRI ContainerConfig.command and .args; the same table as Kubernetes' documentation).
 */
export function resolveArgs(
  config: Pick<ContainerConfig, "command" | "args">,
  image: Pick<ImageConfig, "entrypoint" | "cmd">,
): readonly string[] {
  const { command, args } = config;
  if (command.length > 0) return checked([...command, ...args]);
  if (args.length > 0) return checked([...image.entrypoint, ...args]);
  return checked([...image.entrypoint, ...image.cmd]);
}

function checked(args: readonly string[]): readonly string[] {
  if (args.length === 0) {
    throw new BerthError(
      "invalid-argument",
      "config.command: neither the container nor its image names a command",
    );
  }
  if (args[0] === "") throw new BerthError("invalid-argument", "config.command[0]: is empty");
  const bad = args.findIndex((arg) => arg.includes("\0"));
  if (bad >= 0)
    throw new BerthError("invalid-argument", `config.command: argument ${bad} contains a NUL byte`);
  return args;
}

/** The working directory; the child makes it when the image has none there. */
export function resolveWorkingDir(
  config: Pick<ContainerConfig, "workingDir">,
  image: Pick<ImageConfig, "workingDir">,
): string {
  const dir = config.workingDir || image.workingDir || "/";
  if (dir.includes("\0")) throw new BerthError("invalid-argument", "config.working_dir: contains a NUL byte");
  return dir.startsWith("/") ? dir : `/${dir}`;
}
