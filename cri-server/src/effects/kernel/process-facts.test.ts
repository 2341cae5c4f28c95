import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createInspection } from "./process-facts.ts";

const noNetwork = {
  network: async () => ({ interfaces: [], routes: [] }),
  hostPorts: async () => [],
};

describe("createInspection", () => {
  it("reads a process, however odd its name", async () => {
    const inspection = await createInspection(noNetwork);
    const child = spawn("/bin/sleep", ["60"], { argv0: "a) S (b", stdio: "ignore" });
    try {
      await once(child, "spawn");
      const facts = await inspection.process(child.pid ?? 0);
      expect(facts).toMatchObject({
        pid: child.pid,
        command: "a) S (b 60",
        uid: process.getuid?.(),
        namespaces: inspection.ownNamespaces,
        seccompFilters: expect.any(Number),
      });
      expect(facts?.startTime).toBeGreaterThan(0n);
      expect(facts?.residentBytes).toBeGreaterThan(0);
      expect(facts?.bounding).toBeGreaterThanOrEqual(facts?.effective ?? -1n);
      const mounts = await inspection.mounts(child.pid ?? 0);
      expect(mounts.some(({ target, type }) => target === "/proc" && type === "proc")).toBe(true);
    } finally {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    expect(await inspection.process(child.pid ?? 0)).toBeUndefined();
    expect(await inspection.mounts(child.pid ?? 0)).toEqual([]);
  });

  it("doesn't take the server's own namespaces for those that a process holds for others", async () => {
    const inspection = await createInspection(noNetwork);
    const fd = openSync("/proc/self/ns/ipc", "r");
    const child = spawn("/bin/sleep", ["60"], { stdio: ["ignore", "ignore", "ignore", fd] });
    try {
      await once(child, "spawn");
      expect(await inspection.heldNamespaces(child.pid ?? 0)).toEqual({});
    } finally {
      child.kill("SIGKILL");
      await once(child, "exit");
      closeSync(fd);
    }
  });

  it("knows when nothing is pinned, and sizes of files", async () => {
    const inspection = await createInspection(noNetwork);
    expect(await inspection.pinned("/proc")).toBeUndefined();
    expect(await inspection.pinned("/no/such/path")).toBeUndefined();
    expect(await inspection.fileSize("/no/such/path")).toBeUndefined();
    expect(await inspection.fileSize("/bin/sleep")).toBeGreaterThan(1000);
  });
});
