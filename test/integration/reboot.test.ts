import { readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { encodeFrame, scanFrames } from "../../cri-server/src/effects/store/frame.ts";
import { ContainerState, PodSandboxState } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { footprint } from "../lib/footprint.ts";
import { pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeEach(async () => {
  server = await Berthd.start();
  await pull(server);
});

afterEach(() => server[Symbol.asyncDispose]());

const journalOf = (): string => join(server.dir, "lib/journal");

/** Rewrites every record as another boot's. */
async function pretendReboot(): Promise<void> {
  const { payloads } = scanFrames(await readFile(journalOf()));
  const frames = payloads.map((payload) =>
    encodeFrame(
      Buffer.from(payload.toString("utf8").replace(/"bootId":"[^"]*"/, '"bootId":"00000000-another-boot"')),
    ),
  );
  await writeFile(journalOf(), Buffer.concat(frames));
}

describe("after a reboot", () => {
  it("pods are NOTREADY, what ran has ended, addresses and writable layers are given back", async () => {
    const before = await footprint(server);
    const pod = await TestPod.run(server);
    const running = await pod.start();
    await running.sh("echo x > /written");
    const ended = await pod.start({ command: ["/bin/sh", "-c", "exit 4"] });
    await ended.exited();
    const added = [...(await footprint(server))].filter(
      (line) => line.startsWith("process ") && !before.has(line),
    );
    await server.stop("SIGKILL");
    for (const line of added) {
      const pid = Number(line.split(" ")[1]);
      // The container's process goes with its monitor's namespace, or is killed by itself.
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    await pretendReboot();
    await server.again();
    expect((await pod.status()).state).toBe(PodSandboxState.SANDBOX_NOTREADY);
    const status = await running.status();
    expect(status).toMatchObject({ state: ContainerState.CONTAINER_EXITED });
    expect(status.exitCode).not.toBe(0);
    expect(status.finishedAt).toBeGreaterThan(0n);
    expect(await ended.status()).toMatchObject({ exitCode: 4, reason: "Error" });
    await expect
      .poll(() => readdirSync(join(server.dir, "lib/containers", running.id)), { timeout: 5000 })
      .toEqual([]);
    await expect(running.start()).rejects.toMatchObject({ code: 9 });
    await pod.remove();
    await expect.poll(() => readdirSync(join(server.dir, "lib/containers")), { timeout: 5000 }).toEqual([]);
    await using next = await TestPod.run(server);
    expect(await next.ip()).not.toBe("");
  });
});

describe("a damaged journal", () => {
  it("costs the record that was hit, and no other", async () => {
    await using kept = await TestPod.run(server);
    const container = await kept.start();
    const lost = await TestPod.run(server);
    await server.stop("SIGTERM");
    const bytes = await readFile(journalOf());
    const at = bytes.lastIndexOf(lost.id);
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0xff, at);
    // Every record of that pod but the newest says "creating": its rollback is what follows.
    await writeFile(journalOf(), bytes);
    await server.again();
    expect((await kept.status()).state).toBe(PodSandboxState.SANDBOX_READY);
    expect(await container.sh("echo alive")).toBe("alive");
    const { items } = await server.runtime.listPodSandbox();
    expect(items.map(({ id }) => id)).toEqual([kept.id]);
    expect(await server.log()).toContain("a damaged part of the journal was skipped");
  });
});
