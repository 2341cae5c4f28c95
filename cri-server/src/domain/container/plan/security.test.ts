import { describe, expect, it } from "vitest";
import type { SecurityProfile } from "../../../model/container.ts";
import { defaultApparmorProfile, defaultApparmorText } from "./apparmor-profile.ts";
import { resolveApparmor } from "./security.ts";

const profileOf = (apparmor: SecurityProfile | undefined, isOn: boolean, loaded: readonly string[]) =>
  resolveApparmor(
    { privileged: false, ...(apparmor === undefined ? {} : { apparmor }) },
    { apparmor: isOn },
    { apparmorProfileLoaded: async (name) => loaded.includes(name) },
  );

describe("the AppArmor profile", () => {
  it("is the default for whoever asks for it and for whoever asks for nothing", async () => {
    const loaded = [defaultApparmorProfile];
    expect(await profileOf({ kind: "runtime-default" }, true, loaded)).toBe(defaultApparmorProfile);
    expect(await profileOf(undefined, true, loaded)).toBe(defaultApparmorProfile);
    expect(await profileOf({ kind: "unconfined" }, true, loaded)).toBe("");
  });

  it("is none where the machine has no AppArmor, but never silently for one that was named", async () => {
    expect(await profileOf({ kind: "runtime-default" }, false, [])).toBe("");
    await expect(profileOf({ kind: "localhost", ref: "own" }, false, [])).rejects.toThrow(/own/);
    await expect(profileOf({ kind: "localhost", ref: "own" }, true, [])).rejects.toThrow(
      /"own" is not loaded/,
    );
    expect(await profileOf({ kind: "localhost", ref: "own" }, true, ["own"])).toBe("own");
  });

  it("may be missing only for a container without a wish", async () => {
    expect(await profileOf(undefined, true, [])).toBe("");
    await expect(profileOf({ kind: "runtime-default" }, true, [])).rejects.toMatchObject({
      code: "wrong-state",
    });
  });

  it("is one block of rules without includes", () => {
    const text = defaultApparmorText();
    expect(text).toMatch(/^profile berth-default flags=\([a-z_, ]+\) \{\n( {2}.+,\n)+\}\n$/);
    expect(text).not.toContain("include");
  });
});
