import { describe, expect, it } from "vitest";
import { Undo } from "./undo.ts";

describe("Undo", () => {
  it("runs every step, last in first out", async () => {
    const ran: string[] = [];
    const undo = new Undo();
    for (const what of ["cgroup", "files", "network"]) {
      undo.push(what, async () => {
        ran.push(what);
      });
    }
    expect(await undo.run()).toEqual([]);
    expect(ran).toEqual(["network", "files", "cgroup"]);
  });

  it("goes on after a step that fails, and reports it", async () => {
    const ran: string[] = [];
    const undo = new Undo();
    undo.push("first", async () => {
      ran.push("first");
    });
    undo.push("second", () => Promise.reject(new Error("busy")));
    const failures = await undo.run();
    expect(ran).toEqual(["first"]);
    expect(failures).toEqual([{ what: "second", error: new Error("busy") }]);
  });

  it("is empty after it has run", async () => {
    const undo = new Undo();
    let count = 0;
    undo.push("once", async () => {
      count += 1;
    });
    await undo.run();
    await undo.run();
    expect(count).toBe(1);
  });
});
