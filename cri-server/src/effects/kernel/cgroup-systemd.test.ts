import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ScopeRequest } from "../systemd/systemd-manager.ts";
import { CgroupsSystemd } from "./cgroup-systemd.ts";
import { TurnQueue } from "./turn-queue.ts";

let root: string;
let started: ScopeRequest[];
let stopped: string[];
let cgroups: CgroupsSystemd;

beforeEach(() => {
  root = mkdtempSync("/tmp/berth-systemd-");
  started = [];
  stopped = [];
  const settings = {
    defaultParent: "/berth",
    clock: { now: () => 0n } as never,
    turns: new TurnQueue(),
    hugePageSizes: [],
  };
  cgroups = new CgroupsSystemd(root, settings, {
    startScope: async (request) => {
      started.push(request);
    },
    stop: async (name) => {
      stopped.push(name);
    },
  });
});

afterEach(() => rmSync(root, { recursive: true }));

describe("the systemd driver", () => {
  it("gives each pod a scope in the slice that was asked for", () => {
    expect(cgroups.driver).toBe("systemd");
    expect(cgroups.resolveParent("/kubepods.slice/kubepods-pod1.slice", "s1")).toBe(
      "/kubepods.slice/kubepods-pod1.slice/berth-s1.scope",
    );
    expect(cgroups.resolveParent("", "s1")).toBe("/berth.slice/berth-s1.scope");
    expect(() => cgroups.resolveParent("/kubepods/pod1", "s1")).toThrow("linux.cgroup_parent");
  });

  it("makes a scope of the monitor, delegated and without limits, and puts the monitor into a leaf", async () => {
    const path = cgroups.resolveParent("", "s1");
    await cgroups.ensureParent(path);
    await cgroups.enclose(path, 42);
    expect(started[0]).toMatchObject({ name: "berth-s1.scope", slice: "berth.slice", pid: 42 });
    const values = Object.fromEntries(started[0]?.properties.map(({ name, value }) => [name, value]) ?? []);
    expect(values).toMatchObject({ Delegate: true, TasksMax: 2n ** 64n - 1n, MemoryMin: 2n ** 64n - 1n });
    expect(readFileSync(join(root, path, "monitor/cgroup.procs"), "utf8")).toBe("42");
  });

  it("protects no memory of a pod that lies in the root slice", async () => {
    const path = cgroups.resolveParent("-.slice", "s1");
    await cgroups.ensureParent(path);
    await cgroups.enclose(path, 42);
    expect(started[0]?.slice).toBe("-.slice");
    expect(started[0]?.properties.map(({ name }) => name)).not.toContain("MemoryMin");
  });

  it("stops scope and slice with the last pod, and slices of others never", async () => {
    const [first, second] = ["s1", "s2"].map((id) => cgroups.resolveParent("", id));
    const made = await cgroups.ensureParent(first ?? "");
    const later = await cgroups.ensureParent(second ?? "");
    await cgroups.removeParent(made);
    expect(stopped).toEqual(["berth-s1.scope"]);
    await cgroups.removeParent(later);
    expect(stopped).toEqual(["berth-s1.scope", "berth-s2.scope", "berth.slice"]);
    expect(existsSync(join(root, "berth.slice"))).toBe(false);
    mkdirSync(join(root, "kubepods.slice"));
    const pod = cgroups.resolveParent("/kubepods.slice", "s3");
    await cgroups.removeParent(await cgroups.ensureParent(pod));
    expect(stopped.at(-1)).toBe("berth-s3.scope");
  });
});
