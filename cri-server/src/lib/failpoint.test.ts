import { describe, expect, it } from "vitest";
import { makeFailpoint } from "./failpoint.ts";

describe("makeFailpoint", () => {
  it("does nothing when unset", async () => {
    await makeFailpoint(undefined)("sandbox.run.network");
  });

  it("fails the named step as often as it says", async () => {
    const failpoint = makeFailpoint("sandbox.run.network=1*error");
    await expect(failpoint("sandbox.run.network")).rejects.toThrow("failpoint sandbox.run.network");
    await failpoint("sandbox.run.network");
    await failpoint("sandbox.run.files");
  });

  it("waits", async () => {
    const started = performance.now();
    await makeFailpoint("container.create.plan=delay(20)")("container.create.plan");
    expect(performance.now() - started).toBeGreaterThan(15);
  });

  it.each(["nonsense", "sandbox.run.network=explode", "unknown.step=error"])("refuses %s", (text) => {
    expect(() => makeFailpoint(text)).toThrow("cannot understand");
  });
});
