import { describe, expect, it } from "vitest";
import { defaultSlice, sliceOf, slicePath } from "./unit-names.ts";

const pod = "kubepods-burstable-pod1_2.slice";

describe("slices", () => {
  it.each([
    [`/kubepods.slice/kubepods-burstable.slice/${pod}`, pod],
    ["system.slice", "system.slice"],
    ["-.slice", "-.slice"],
  ])("are named by the last part of %s", (parent, slice) => {
    expect(sliceOf(parent, "f")).toBe(slice);
  });

  it.each(["/kubepods/pod1", "/a.slice/b", "a--b.slice", "-a.slice", "a-.slice", ".slice", "a b.slice"])(
    "are not named by %s",
    (parent) => {
      expect(() => sliceOf(parent, "linux.cgroup_parent")).toThrow(`linux.cgroup_parent: "${parent}"`);
    },
  );

  it("lie in each other as their names say", () => {
    expect(slicePath(pod)).toBe(`/kubepods.slice/kubepods-burstable.slice/${pod}`);
    expect(slicePath("-.slice")).toBe("");
  });

  it("take the place of the other driver's default path", () => {
    expect(defaultSlice("/berth")).toBe("berth.slice");
    expect(defaultSlice("/a/b")).toBe("a-b.slice");
    expect(defaultSlice("/")).toBe("-.slice");
    expect(defaultSlice("machine.slice")).toBe("machine.slice");
  });
});
