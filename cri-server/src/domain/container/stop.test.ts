import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Container, ContainerStatus } from "../../model/container.ts";
import type { Logger } from "../../ports/logger.ts";
import type { Monitor } from "../../ports/monitor.ts";
import type { ContainerEntry, PodEntry } from "../objects.ts";
import { stopContainer } from "./stop.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const log = { error: () => {}, debug: () => {} } as unknown as Logger;
const running: ContainerStatus = { phase: "running", pid: 1, startTime: 1n, startedAt: 1n };

interface Sent {
  readonly signal: number;
  readonly all: boolean;
}

/** A container whose monitor notes what it is told to send; SIGKILL ends it. */
function container(status: ContainerStatus, pid = "CONTAINER"): { entry: ContainerEntry; sent: Sent[] } {
  const sent: Sent[] = [];
  const exited = Promise.withResolvers<void>();
  const monitor = {
    kill: async (_id: string, signal: number, all: boolean) => {
      sent.push({ signal, all });
      if (signal === 9) exited.resolve();
    },
  } as unknown as Monitor;
  const entry = {
    container: {
      id: "c",
      status,
      stopSignal: 15,
      config: { security: { namespaces: { pid } } },
    } as unknown as Container,
    pod: { monitor } as PodEntry,
    exited,
    stop: undefined,
  } as unknown as ContainerEntry;
  return { entry, sent };
}

const term = { signal: 15, all: false };
const kill = { signal: 9, all: false };

describe("stopContainer", () => {
  it("does nothing to one that has ended", async () => {
    const { entry, sent } = container({ phase: "removing" });
    await stopContainer({ log }, entry, 5n);
    expect(sent).toEqual([]);
  });

  it("sends the stop signal, then SIGKILL when the grace period is over", async () => {
    const { entry, sent } = container(running);
    const stopped = stopContainer({ log }, entry, 5n);
    await vi.advanceTimersByTimeAsync(4999);
    expect(sent).toEqual([term]);
    await vi.advanceTimersByTimeAsync(1);
    await stopped;
    expect(sent).toEqual([term, kill]);
  });

  it("kills at once with a timeout of 0, and what was only created", async () => {
    for (const [status, timeout] of [
      [running, 0n],
      [{ phase: "created", pid: 1, startTime: 1n }, 30n],
    ] as const) {
      const { entry, sent } = container(status);
      await stopContainer({ log }, entry, timeout);
      expect(sent).toEqual([kill]);
    }
  });

  it("lets a second, shorter stop shorten the wait without sending the signal again", async () => {
    const { entry, sent } = container(running);
    const first = stopContainer({ log }, entry, 30n);
    await vi.advanceTimersByTimeAsync(1000);
    const second = stopContainer({ log }, entry, 2n);
    const third = stopContainer({ log }, entry, 60n);
    await vi.advanceTimersByTimeAsync(1999);
    expect(sent).toEqual([term]);
    await vi.advanceTimersByTimeAsync(1);
    await Promise.all([first, second, third]);
    expect(sent).toEqual([term, kill]);
  });

  it("goes on to kill when its client has gone", async () => {
    const { entry, sent } = container(running);
    const client = new AbortController();
    const stopped = stopContainer({ log }, entry, 5n, client.signal);
    const gone = expect(stopped).rejects.toThrow("gone");
    await vi.advanceTimersByTimeAsync(1000);
    client.abort(new Error("gone"));
    await gone;
    await vi.advanceTimersByTimeAsync(4000);
    expect(sent).toEqual([term, kill]);
  });

  it("kills every process of one that shares its PID namespace", async () => {
    const { entry, sent } = container(running, "POD");
    await stopContainer({ log }, entry, 0n);
    expect(sent).toEqual([{ signal: 9, all: true }]);
  });
});
