import { describe, expect, it } from "vitest";
import type { ContainerStatus } from "../../model/container.ts";
import type { ExitRecord } from "../../ports/monitor.ts";
import type { ContainerEvent } from "./transition.ts";
import { nextContainerStatus } from "./transition.ts";

const exit: ExitRecord = { containerId: "c", exitCode: 3, oomKilled: false, startedAt: 5n, finishedAt: 8n };
const process = { pid: 7, startTime: 9n };

const statuses: readonly ContainerStatus[] = [
  { phase: "creating" },
  { phase: "created", ...process },
  { phase: "running", ...process, startedAt: 5n },
  { phase: "exited", startedAt: 5n, finishedAt: 8n, exitCode: 0, reason: "Completed", message: "" },
  { phase: "removing" },
  { phase: "unknown", message: "m" },
];
const events: readonly ContainerEvent[] = [
  { kind: "created", process },
  { kind: "started", startedAt: 5n },
  { kind: "exited", exit },
  { kind: "failed", message: "m" },
  { kind: "remove" },
];
const allowed: Readonly<Record<ContainerStatus["phase"], readonly ContainerEvent["kind"][]>> = {
  creating: ["created", "failed", "remove"],
  created: ["started", "exited", "remove"],
  running: ["exited", "remove"],
  exited: ["remove"],
  removing: [],
  unknown: ["exited", "remove"],
};

describe("nextContainerStatus", () => {
  for (const status of statuses) {
    for (const event of events) {
      const isAllowed = allowed[status.phase].includes(event.kind);
      it(`${status.phase} + ${event.kind}: ${isAllowed ? "allowed" : "refused"}`, () => {
        const next = (): ContainerStatus => nextContainerStatus(status, event);
        if (isAllowed) {
          expect(next().phase).not.toBe(status.phase);
        } else {
          expect(next).toThrow("not possible");
        }
      });
    }
  }

  it.each([
    [{ ...exit, exitCode: 0 }, "Completed"],
    [exit, "Error"],
    [{ ...exit, exitCode: 137, oomKilled: true }, "OOMKilled"],
  ])("says why %o ended: %s", (record, reason) => {
    const status = nextContainerStatus(
      { phase: "running", ...process, startedAt: 5n },
      { kind: "exited", exit: record },
    );
    expect(status).toMatchObject({ phase: "exited", exitCode: record.exitCode, reason });
  });

  it("never reports an exit without a start", () => {
    const record = { ...exit, startedAt: 0n };
    const status = nextContainerStatus({ phase: "created", ...process }, { kind: "exited", exit: record });
    expect(status).toMatchObject({ startedAt: 8n, finishedAt: 8n });
  });
});
