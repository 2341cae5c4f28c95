/** CNI spec versions that this client speaks, oldest first. */
export const supportedVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

function parts(version: string): readonly [number, number, number] {
  const [major = 0, minor = 0, patch = 0] = version.split(".").map((part) => Number.parseInt(part, 10) || 0);
  return [major, minor, patch];
}

/** Whether `version` is `floor` or later. */
export function atLeast(version: string, floor: string): boolean {
  const left = parts(version);
  const right = parts(floor);
  for (const index of [0, 1, 2] as const) {
    if (left[index] !== right[index]) {
      return left[index] > right[index];
    }
  }
  return true;
}

/** The highest of the offered versions that we speak too (SPEC.md, "cniVersions"). */
export function chooseVersion(offered: readonly string[]): string | undefined {
  return supportedVersions.findLast((version) => offered.includes(version));
}
