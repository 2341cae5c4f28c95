import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { encodeExecPlan, encodeLaunchPlan } from "../../cri-server/src/effects/native/encode-plan.ts";
import { bindOf, defaultOps, isSlow, makeFixture } from "./container-fixture.ts";

const native = resolve(import.meta.dirname, "../../native");

it.skipIf(isSlow)("is never read beyond its end, however it was mangled", async () => {
  const fixture = await makeFixture();
  const directory = await mkdtemp(join(tmpdir(), "berth-child-plan-"));
  try {
    const plan = await fixture.plan(
      "true",
      {
        ops: [
          ...defaultOps,
          bindOf("/a", "/b"),
          bindOf("sub", "/c", { layers: ["/d", "/e"] }),
          { op: "mkdir", target: "/x", mode: 0o755 },
        ],
      },
      { seccomp: new Uint8Array(80), rlimits: [{ resource: 1, soft: 1n, hard: 1n }], groups: [1, 2, 3] },
    );
    const cgroup = { ...plan.cgroup, writes: [{ path: "/a/b", value: "x", optional: true }] };
    await writeFile(join(directory, "launch"), encodeLaunchPlan({ ...plan, cgroup }));
    await writeFile(join(directory, "exec"), encodeExecPlan(fixture.exec(plan, ["a", "b"])));
    const { stdout } = await promisify(execFile)(join(native, "build/fuzz-plan"), [
      join(directory, "launch"),
      join(directory, "exec"),
    ]);
    expect(Number.parseInt(stdout, 10)).toBeGreaterThan(1000);
  } finally {
    await rm(directory, { recursive: true });
    await fixture.cleanUp();
  }
});
