import { BerthError } from "../../../errors/berth-error.ts";
import type { SecurityContext, SelinuxOptions } from "../../../model/container.ts";
import type { HostFacts, HostFiles } from "../../../ports/host.ts";
import { defaultApparmorProfile } from "./apparmor-profile.ts";

/** The AppArmor profile of the exec attribute, "" for none. */
export async function resolveApparmor(
  security: Pick<SecurityContext, "apparmor" | "privileged">,
  host: Pick<HostFacts, "apparmor">,
  files: Pick<HostFiles, "apparmorProfileLoaded">,
): Promise<string> {
  const { apparmor, privileged } = security;
  if (privileged || apparmor?.kind === "unconfined") return "";
  if (apparmor?.kind === "localhost") {
    const name = apparmor.ref.replace(/^localhost\//, "");
    const where = `security_context.apparmor: profile ${JSON.stringify(name)}`;
    if (!host.apparmor) throw new BerthError("invalid-argument", `${where}: this machine has no AppArmor`);
    if (name === "" || !(await files.apparmorProfileLoaded(name))) {
      throw new BerthError("invalid-argument", `${where} is not loaded`);
    }
    return name;
  }
  if (!host.apparmor) return "";
  if (await files.apparmorProfileLoaded(defaultApparmorProfile)) return defaultApparmorProfile;
  // The server loads it when it starts, and warns if it can't. A container without a wish starts all the same; one whose
  // client relies on a profile must not run without.
  if (apparmor === undefined) return "";
  throw new BerthError(
    "wrong-state",
    `security_context.apparmor: the default profile ${JSON.stringify(defaultApparmorProfile)} is not loaded`,
  );
}

/** The SELinux label of the exec attribute, "" for none. */
export function resolveSelinux(
  security: Pick<SecurityContext, "selinux" | "privileged">,
  host: Pick<HostFacts, "selinux">,
): string {
  const { selinux, privileged } = security;
  if (!host.selinux || selinux === undefined || privileged) return "";
  return selinuxLabel(selinux);
}

function selinuxLabel(options: SelinuxOptions): string {
  for (const [field, value] of Object.entries(options)) {
    if (!/^[A-Za-z0-9_.:,-]*$/.test(value)) {
      throw new BerthError(
        "invalid-argument",
        `security_context.selinux_options.${field}: ${JSON.stringify(value)} is not part of a label`,
      );
    }
  }
  const { user, role, type, level } = options;
  if (user === "" && role === "" && type === "" && level === "") return "";
  return `${user || "system_u"}:${role || "system_r"}:${type || "container_t"}:${level || "s0"}`;
}
