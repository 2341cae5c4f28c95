import { describe, expect, it } from "vitest";
import type { SandboxPhase, SandboxStatus } from "../../model/sandbox.ts";
import type { SandboxEvent } from "./transition.ts";
import { nextSandboxStatus } from "./transition.ts";

const monitor = { pid: 7, startTime: 9n };
const events: readonly SandboxEvent[] = [
  { kind: "ready", ips: ["10.0.0.2"], netnsPath: "/run/netns/x", monitor },
  { kind: "stop" },
  { kind: "stopped" },
  { kind: "lost", reason: "MonitorLost" },
  { kind: "failed", reason: "why" },
  { kind: "remove" },
];

const allowed: Readonly<Record<SandboxPhase, Partial<Record<SandboxEvent["kind"], SandboxPhase>>>> = {
  creating: { ready: "ready", failed: "unknown", remove: "removing" },
  ready: { stop: "stopping", lost: "notready", remove: "removing" },
  stopping: { stop: "stopping", stopped: "notready", lost: "stopping", remove: "removing" },
  notready: { stop: "stopping", stopped: "notready", lost: "notready", remove: "removing" },
  unknown: { stop: "stopping", lost: "notready", remove: "removing" },
  removing: {},
};

const status = (phase: SandboxPhase): SandboxStatus => ({
  phase,
  ips: [],
  bootId: "b",
  monitor,
  attached: true,
});

describe("nextSandboxStatus", () => {
  for (const phase of Object.keys(allowed) as SandboxPhase[]) {
    for (const event of events) {
      const next = allowed[phase][event.kind];
      it(`${phase} + ${event.kind}: ${next ?? "refused"}`, () => {
        if (next === undefined) {
          expect(() => nextSandboxStatus(status(phase), event)).toThrow("not possible");
        } else {
          expect(nextSandboxStatus(status(phase), event).phase).toBe(next);
        }
      });
    }
  }

  it("forgets a monitor that is lost, and the network when it is detached", () => {
    expect(nextSandboxStatus(status("ready"), { kind: "lost", reason: "x" }).monitor).toBeUndefined();
    expect(nextSandboxStatus(status("stopping"), { kind: "stopped" }).attached).toBeUndefined();
  });
});
