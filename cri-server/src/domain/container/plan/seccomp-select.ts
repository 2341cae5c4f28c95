import { BerthError } from "../../../errors/berth-error.ts";
import type { SecurityContext } from "../../../model/container.ts";
import type { HostFacts, HostFiles } from "../../../ports/host.ts";
import type { SeccompProgram } from "../../../ports/seccomp.ts";
import { capabilityNames } from "./capabilities.ts";
import { runtimeDefaultProfile } from "./seccomp-default.ts";
import { parseSeccompProfile, resolveSeccompProfile } from "./seccomp-profile.ts";

/** Larger profiles are refused; Docker's own default has 13 KiB. */
const maxProfileBytes = 4 << 20;

export interface SeccompSelection {
  readonly security: Pick<SecurityContext, "seccomp" | "privileged">;
  /** The container's bounding set: the profile's rules depend on it. */
  readonly granted: bigint;
  readonly host: Pick<HostFacts, "arch" | "kernel">;
  /** Path of a profile that replaces the built-in one; "" built-in. */
  readonly defaultProfile: string;
  readonly files: Pick<HostFiles, "readText">;
}

/** The filter program of a container; undefined runs it unconfined. */
export async function selectSeccomp(selection: SeccompSelection): Promise<SeccompProgram | undefined> {
  const { security, host, defaultProfile, files } = selection;
  if (security.privileged) return undefined;
  const target = {
    capabilities: new Set(capabilityNames(selection.granted)),
    arch: host.arch,
    kernel: host.kernel,
  };
  switch (security.seccomp.kind) {
    case "unconfined":
      return undefined;
    case "runtime-default": {
      if (defaultProfile === "") return resolveSeccompProfile(runtimeDefaultProfile, target);
      return resolveSeccompProfile(await readProfile(files, defaultProfile), target);
    }
    case "localhost": {
      const { ref } = security.seccomp;
      if (!ref.startsWith("/")) {
        throw new BerthError(
          "invalid-argument",
          `security_context.seccomp.localhost_ref: ${JSON.stringify(ref)} is not an absolute path`,
        );
      }
      return resolveSeccompProfile(await readProfile(files, ref), target);
    }
  }
}

async function readProfile(files: Pick<HostFiles, "readText">, path: string) {
  return parseSeccompProfile(await files.readText(path, maxProfileBytes), path);
}
