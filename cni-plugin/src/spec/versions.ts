import { CniError, codes } from "./errors.ts";

/** Oldest first; a configuration names one of them. */
export const supportedVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type CniVersion = (typeof supportedVersions)[number];

/** What errors are printed in when the configuration's own version could not be read. */
export const newestVersion: CniVersion = "1.1.0";

/** The version as one of ours. A configuration without one is of 0.1.0, as the specification of that time has it. */
export function parseVersion(text: string | undefined): CniVersion {
  const wanted = text === undefined || text === "" ? "0.1.0" : text;
  const found = supportedVersions.find((version) => version === wanted);
  if (found === undefined) {
    throw new CniError(
      codes.incompatibleVersion,
      `cniVersion "${wanted}" is none of ${supportedVersions.join(", ")}`,
    );
  }
  return found;
}

/** Whether `version` has what came with `since`. */
export function atLeast(version: CniVersion, since: CniVersion): boolean {
  return supportedVersions.indexOf(version) >= supportedVersions.indexOf(since);
}
