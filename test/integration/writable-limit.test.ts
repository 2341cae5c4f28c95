import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KernelProjectQuota } from "../../cri-server/src/effects/kernel/project-quota.ts";
import { projectRange } from "../../cri-server/src/effects/store/layer-projects.ts";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, TestPod } from "../lib/pod.ts";
import { hasProjectQuota, QuotaDisk } from "../lib/quota-disk.ts";

const annotation = "storage.berth.dev/writable-layer";
const MiB = 1024 * 1024;
/** gRPC's codes. */
const invalidArgument = 3;
const unimplemented = 12;

describe("a limit on a file system without project quota", () => {
  it("is refused: for one container when it is made, for all when the server starts", async () => {
    await using server = await Berthd.start();
    await pull(server);
    await using pod = await TestPod.run(server, { annotations: { [annotation]: "16Mi" } });
    await expect(pod.create()).rejects.toMatchObject({
      code: unimplemented,
      details: expect.stringMatching(/no project quota \(mount it with prjquota/),
    });
    await server.stop();
    await expect(server.again({ flags: ["--writable-layer-bytes", "1000000"] })).rejects.toThrow(
      /option runtime\.writable_layer_bytes: the file system of the root directory has no project quota/,
    );
    await server.stop();
    await server.again({});
  });
});

describe.skipIf(!hasProjectQuota)("a writable layer with a limit", () => {
  let disk: QuotaDisk;
  let server: Berthd;

  beforeAll(async () => {
    disk = await QuotaDisk.mount();
    const before = process.env.BERTH_TEST_TMP;
    process.env.BERTH_TEST_TMP = disk.path;
    try {
      server = await Berthd.start({ flags: ["--writable-layer-bytes", String(16 * MiB)] });
    } finally {
      if (before === undefined) delete process.env.BERTH_TEST_TMP;
      else process.env.BERTH_TEST_TMP = before;
    }
    await pull(server);
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await disk[Symbol.asyncDispose]();
  });

  /** Every project of ours that the file system knows of. */
  async function projects(): Promise<readonly { id: number; inodes: bigint; limitBytes: bigint }[]> {
    const quota = await KernelProjectQuota.open(disk.path);
    const found: { id: number; inodes: bigint; limitBytes: bigint }[] = [];
    for (let id: number = projectRange.first; ; id++) {
      const next = await quota.next(id);
      if (next === undefined || next.id > projectRange.last) break;
      ({ id } = next);
      found.push({ id, ...next.usage });
    }
    await quota.close();
    return found.filter(({ inodes, limitBytes }) => inodes > 0n || limitBytes > 0n);
  }

  const write = (file: string, megabytes: number): string =>
    `dd if=/dev/zero of=${file} bs=1M count=${megabytes} 2>&1 && sync`;

  it("takes no more than that, says so, and has room again for what is removed", async () => {
    await using pod = await TestPod.run(server);
    const [full, other] = [await pod.start(), await pod.start()];
    const { exitCode, stdout } = await full.exec("/bin/sh", "-c", write("/big", 32));
    expect(exitCode).not.toBe(0);
    expect(stdout).toMatch(/quota exceeded/i);
    expect(Number(await full.sh("stat -c %s /big"))).toBeLessThan(16 * MiB);
    expect(Number(await full.sh("stat -c %s /big"))).toBeGreaterThan(14 * MiB);
    expect(await full.sh("df -k / | awk 'END { print $2 }'")).toBe(String(16 * 1024));
    await other.sh(write("/mine", 8));
    await full.sh(`rm /big && ${write("/again", 8)}`);
  });

  it("is what annotations say, but never more than the node's", async () => {
    const annotations = { [annotation]: "4Mi", [`${annotation}.container-2`]: "1Gi" };
    await using pod = await TestPod.run(server, { annotations });
    const [small, large] = [await pod.start(), await pod.start()];
    expect((await small.exec("/bin/sh", "-c", write("/f", 6))).exitCode).not.toBe(0);
    await large.sh(write("/f", 12));
    expect((await large.exec("/bin/sh", "-c", write("/g", 12))).exitCode).not.toBe(0);
    await using wrong = await TestPod.run(server, { annotations: { [annotation]: "lots" } });
    await expect(wrong.create()).rejects.toMatchObject({ code: invalidArgument });
  });

  it("is counted by the file system, to the byte and at once", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const used = async () => {
      const { stats } = await server.runtime.containerStats({ containerId: container.id });
      return {
        bytes: Number(stats?.writableLayer?.usedBytes?.value),
        inodes: Number(stats?.writableLayer?.inodesUsed?.value),
      };
    };
    const before = await used();
    await container.sh(`mkdir /d && ${write("/d/f", 5)} && touch /d/1 /d/2 /d/3`);
    const after = await used();
    expect(after.bytes - before.bytes).toBeGreaterThanOrEqual(5 * MiB);
    expect(after.bytes - before.bytes).toBeLessThan(5 * MiB + 32 * 1024);
    expect(after.inodes - before.inodes).toBe(5);
    await container.sh("rm -r /d");
    expect((await used()).bytes).toBeLessThan(before.bytes + 32 * 1024);
  });

  it("outlives the server, whose next start gives nobody a layer's project twice", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    await container.sh(write("/f", 10));
    await server.restart("SIGKILL");
    const late = await pod.start();
    await late.sh(write("/f", 10));
    expect((await container.exec("/bin/sh", "-c", write("/g", 10))).exitCode).not.toBe(0);
    const { stats } = await server.runtime.containerStats({ containerId: container.id });
    expect(Number(stats?.writableLayer?.usedBytes?.value)).toBeGreaterThan(15 * MiB);
    const ids = (await projects()).map(({ id }) => id);
    expect(new Set(ids).size).toBe(2);
  });

  it("leaves no project behind: not removed, not failed, not after a crash in between", async () => {
    await eventually(async () => expect(await projects()).toEqual([]));
    await server.stop();
    await server.again({
      flags: ["--writable-layer-bytes", String(16 * MiB)],
      env: { BERTH_FAILPOINTS: "container.create.monitor=1*error;container.create.record=1*crash" },
    });
    const pod = await TestPod.run(server);
    await expect(pod.create()).rejects.toThrow();
    await eventually(async () => expect(await projects()).toEqual([]));
    await expect(pod.create()).rejects.toThrow();
    await server.stop();
    // As if it had died just after a removal.
    const quota = await KernelProjectQuota.open(disk.path);
    await quota.setLimit(projectRange.first + 77, BigInt(MiB));
    await quota.close();
    expect(await projects()).toHaveLength(2);
    await server.again({ flags: ["--writable-layer-bytes", String(16 * MiB)] });
    await eventually(async () => expect(await projects()).toEqual([]));
    const { items } = await server.runtime.listPodSandbox();
    for (const { id } of items) await server.runtime.removePodSandbox({ podSandboxId: id });
  });
});
