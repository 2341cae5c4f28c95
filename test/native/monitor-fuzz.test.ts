import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { encodeExecPlan, encodeLaunchPlan } from "../../cri-server/src/effects/native/encode-plan.ts";
import { encodeFrame, PayloadWriter } from "../../cri-server/src/effects/native/frames.ts";
import { Op } from "../../cri-server/src/effects/native/ops.gen.ts";
import type { LaunchPlan } from "../../cri-server/src/model/plan.ts";
import type { Monitor, PodMonitorSpec } from "../../cri-server/src/ports/monitor.ts";
import { type MonitorFixture, makeMonitorFixture } from "./monitor-fixture.ts";

let fixture: MonitorFixture;
let monitor: Monitor;
let spec: PodMonitorSpec;
let plan: LaunchPlan;
/** What CREATE is made of: in no cgroup, for those can't be made read-only. */
let seed: LaunchPlan;
beforeAll(async () => {
  // A changed byte can be one of a path, and all of this is root's work.
  fixture = await makeMonitorFixture(1, true);
  ({ monitor, spec } = await fixture.pod());
  plan = await fixture.plan("sleep 10000");
  await fixture.running(monitor, plan);
  seed = await fixture.plan("true");
  seed = { ...seed, cgroup: { ...seed.cgroup, mkdirs: [], join: [] } };
});
afterAll(() => fixture.cleanUp());

/** The same series each time, so that a failure can be seen again. */
function randomSeries(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function speak(bytes: Buffer): Promise<void> {
  const socket: Socket = createConnection(join(spec.podDir, "monitor.sock"));
  socket.on("error", () => {});
  socket.resume();
  await new Promise((sent) => socket.write(bytes, sent));
  await sleep(1);
  socket.destroy();
}

/** Well-formed requests, so that a changed byte gets past the first check. SHUTDOWN is left out: it would be obeyed. */
function seeds(created: LaunchPlan): readonly Buffer[] {
  const exec = encodeExecPlan(fixture.containers.exec(plan, ["true"]));
  const named = new PayloadWriter().id(plan.containerId).u32(3).u32(0).finish();
  return [
    encodeFrame(Op.CREATE, 1, encodeLaunchPlan(created)),
    encodeFrame(Op.EXEC_SYNC, 2, new PayloadWriter().u32(500).u32(1000).rest(exec).finish()),
    encodeFrame(Op.EXEC, 3, new PayloadWriter().u32(0).rest(exec).finish()),
    encodeFrame(Op.ATTACH, 4, named),
    encodeFrame(Op.REOPEN_LOG, 5, named),
    encodeFrame(Op.LIST, 6, Buffer.alloc(0)),
    encodeFrame(Op.STDIN, 7, Buffer.from("text")),
    encodeFrame(Op.RESIZE, 8, Buffer.alloc(8, 1)),
    encodeFrame(Op.START, 9, named),
  ];
}

it("lives through whatever is said to it, and still serves", { timeout: 120_000 }, async () => {
  const random = randomSeries(7);
  const started = performance.now();
  let lost = false;
  monitor.onLost(() => {
    lost = true;
  });
  for (let turn = 0; performance.now() - started < 8000 && !lost; turn++) {
    const frames = seeds({ ...seed, containerId: `fuzz-${turn}` });
    const frame = Buffer.from(frames[random(frames.length)] ?? Buffer.alloc(0));
    for (let change = random(4); change >= 0; change--) {
      const at = random(frame.length);
      frame[at] = random(3) === 0 ? 0xff : random(256);
    }
    // Never the one request that ends it, and never a signal for the container that is looked at in the end.
    if (frame.length > 6 && [Op.SHUTDOWN, Op.KILL].some((op) => op === frame.readUInt16LE(4))) continue;
    const pieces = random(3) === 0 ? frame.subarray(0, random(frame.length)) : frame;
    await speak(pieces);
  }
  expect(lost).toBe(false);
  const outcome = await monitor.execSync(fixture.containers.exec(plan, ["echo", "here"]), 5000, 100);
  expect(outcome.stdout.toString()).toBe("here\n");
  for (const { containerId, state } of await monitor.list()) {
    if (containerId !== plan.containerId && state !== "running") await monitor.remove(containerId);
  }
});
