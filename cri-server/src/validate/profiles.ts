import { isAbsolute } from "node:path";
import type { SecurityProfile as ProfileMessage, SELinuxOption } from "../../../proto/gen/api.ts";
import { SecurityProfile_ProfileType as Type } from "../../../proto/gen/api.ts";
import type { SecurityProfile, SelinuxOptions } from "../model/container.ts";
import { complain, hasControl, invalid } from "./check.ts";

/** A seccomp profile; a missing one is unconfined, as the proto has it. Localhost has to be an absolute path. */
export function toSeccomp(field: string, message: ProfileMessage | undefined): SecurityProfile {
  if (message === undefined) {
    return { kind: "unconfined" };
  }
  const profile = toProfile(field, message);
  if (profile.kind === "localhost" && (!isAbsolute(profile.ref) || hasControl(profile.ref))) {
    throw invalid(`${field}.localhost_ref`, profile.ref, "not the absolute path of a profile");
  }
  return profile;
}

/**
 * An AppArmor profile: the message, else the older string (`runtime/default`, `unconfined`, `localhost/<name>`), else
 * undefined, which is the runtime's default where AppArmor is on.
 */
export function toApparmor(
  field: string,
  message: ProfileMessage | undefined,
  old: string,
): SecurityProfile | undefined {
  if (message !== undefined) {
    return toProfile(field, message);
  }
  if (old === "") {
    return undefined;
  }
  if (old === "runtime/default") {
    return { kind: "runtime-default" };
  }
  if (old === "unconfined") {
    return { kind: "unconfined" };
  }
  const name = old.startsWith("localhost/") ? old.slice("localhost/".length) : "";
  if (name === "" || hasControl(name)) {
    throw invalid(`${field}_profile`, old, "neither runtime/default, unconfined nor localhost/<name>");
  }
  return { kind: "localhost", ref: name };
}

function toProfile(field: string, message: ProfileMessage): SecurityProfile {
  switch (message.profileType) {
    case Type.RuntimeDefault:
      return { kind: "runtime-default" };
    case Type.Unconfined:
      return { kind: "unconfined" };
    case Type.Localhost:
      break;
    default:
      throw invalid(`${field}.profile_type`, message.profileType, "not a profile type");
  }
  if (message.localhostRef === "" || hasControl(message.localhostRef)) {
    throw invalid(
      `${field}.localhost_ref`,
      message.localhostRef,
      "has to name a profile when the type is Localhost",
    );
  }
  return { kind: "localhost", ref: message.localhostRef };
}

/** SELinux options: one word each. */
export function toSelinux(field: string, message: SELinuxOption | undefined): SelinuxOptions | undefined {
  if (message === undefined) {
    return undefined;
  }
  const { user, role, type, level } = message;
  for (const [name, value] of Object.entries({ user, role, type, level })) {
    if (/[\s\0]/.test(value) || (name !== "level" && value.includes(":"))) {
      throw invalid(`${field}.${name}`, value, "can't be part of a label");
    }
  }
  return user + role + type + level === "" ? undefined : { user, role, type, level };
}

/** Levels are `s0`, `s0-s0:c1`, `s0:c1.c5,c9`. */
export function checkSelinuxLevel(field: string, level: string): string | undefined {
  const one = "s\\d{1,2}(:c\\d{1,4}([.,]c\\d{1,4})*)?";
  return level === "" || new RegExp(`^${one}(-${one})?$`).test(level)
    ? undefined
    : complain(`${field}.level`, level, "not a level like s0:c1,c2");
}
