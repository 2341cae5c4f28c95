import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type ContainerConfig, type DeepPartial, NamespaceMode } from "../../proto/gen/api.ts";
import { attacker } from "../lib/attacker.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { footprint, isServersOwn } from "../lib/footprint.ts";
import { pull, TestPod } from "../lib/pod.ts";

const up = "../../../../../../../../..";
const outside = "/run/outside";
const watched = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/panic"];

let server: Berthd;
let mount: Awaited<ReturnType<typeof attacker>>;
let before: readonly string[];
const look = () => watched.map((file) => readFileSync(file, "latin1"));

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  mount = await attacker(server);
  mkdirSync(outside);
  writeFileSync(join(outside, "file"), "the host's");
  before = look();
});

afterEach(() => {
  expect(readdirSync(outside)).toEqual(["file"]);
  expect(look()).toEqual(before);
});

afterAll(async () => {
  rmSync(outside, { recursive: true });
  await server[Symbol.asyncDispose]();
});

/** A volume in which `name` is a directory and a link in turns, as fast as a process can exchange them. */
async function swapping(volume: string, name: string, to: string, work: () => Promise<void>): Promise<void> {
  rmSync(volume, { recursive: true, force: true });
  mkdirSync(join(volume, name), { recursive: true });
  symlinkSync(to, join(volume, "link"));
  const swap = spawn(mount.hostPath, ["swap", join(volume, name), join(volume, "link"), "3600"], {
    stdio: "ignore",
  });
  const ended = once(swap, "exit");
  try {
    await work();
  } finally {
    swap.kill();
    await ended;
  }
}

/** Creates and removes containers; how many could be made. */
async function creations(pod: TestPod, count: number, config: DeepPartial<ContainerConfig>): Promise<number> {
  let made = 0;
  for (let round = 0; round < count; round += 1) {
    const container = await pod.create(config).catch(() => undefined);
    if (container === undefined) continue;
    made += 1;
    await container.remove();
  }
  return made;
}

describe("a volume that two containers share", () => {
  it("leads no mount, directory or mask out of the second (CVE-2021-30465, CVE-2024-45310)", async () => {
    await using pod = await TestPod.run(server);
    const first = await footprint(server);
    const volume = join(server.dir, "volume");
    const payload = join(server.dir, "payload");
    writeFileSync(payload, "payload");
    let made = 0;
    await swapping(volume, "a", `${up}${outside}`, async () => {
      made = await creations(pod, 100, {
        workingDir: "/v/a/work/dir",
        mounts: [
          { hostPath: volume, containerPath: "/v" },
          { hostPath: payload, containerPath: "/v/a/x/y/file" },
          { hostPath: server.dir, containerPath: "/v/a/made", readonly: true },
        ],
        linux: { securityContext: { maskedPaths: ["/v/a/x"], readonlyPaths: ["/v/a"] } },
      });
    });
    expect(made).toBeGreaterThan(0);
    rmSync(volume, { recursive: true });
    rmSync(payload);
    await eventually(async () => {
      const left = [...(await footprint(server))].filter(
        (thing) => !first.has(thing) && !isServersOwn(thing),
      );
      if (left.length > 0) throw new Error(`left behind:\n${left.join("\n")}`);
    }, 15_000);
  }, 240_000);

  it("gets no terminal or device of the second to anywhere else (CVE-2025-52565, CVE-2025-31133)", async () => {
    await using pod = await TestPod.run(server);
    const volume = join(server.dir, "dev");
    for (const [name, to] of [
      ["pts", `${up}${outside}`],
      ["console", "/proc/sys/kernel/core_pattern"],
      ["null", "/proc/sys/kernel/core_pattern"],
    ] as const) {
      await swapping(volume, name, to, async () => {
        await creations(pod, 40, { tty: true, mounts: [{ hostPath: volume, containerPath: "/dev" }] });
      });
    }
    rmSync(volume, { recursive: true });
  }, 240_000);

  it("can't stand in for /proc, so that labels and sysctls go astray (CVE-2025-52881, CVE-2019-16884)", async () => {
    await using pod = await TestPod.run(server, { linux: { sysctls: { "kernel.shm_rmid_forced": "1" } } });
    const volume = join(server.dir, "fake");
    await swapping(volume, "self", "/proc/sys", async () => {
      for (const containerPath of [
        "/proc",
        "/proc/self",
        "/proc/sys",
        "/proc/self/attr",
        "/proc/thread-self",
      ]) {
        expect(
          await creations(pod, 5, { mounts: [{ hostPath: volume, containerPath }] }),
          containerPath,
        ).toBe(0);
      }
    });
    rmSync(volume, { recursive: true });
  }, 120_000);
});

describe("a program of the runtime's", () => {
  it("is not changed by a container that has it executed as #!/proc/self/exe (CVE-2019-5736)", async () => {
    const native = readFileSync(join(import.meta.dirname, "../../native/build/berth-native"));
    const shared = { linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } } };
    await using pod = await TestPod.run(server, shared);
    const overwrite = [
      "printf '#!/proc/self/exe\\n' >/tmp/evil; chmod 755 /tmp/evil",
      "while :; do for p in /proc/[0-9]*; do",
      'case "$(readlink $p/exe 2>/dev/null)" in *memfd*) echo "found $p"; echo evil 2>/dev/null >$p/exe && echo "wrote $p"',
      "esac; done; done",
    ].join("\n");
    const evil = await (await pod.create({ command: ["/bin/sh", "-c", overwrite], ...shared })).start();
    for (let round = 0; round < 60; round += 1) {
      expect((await evil.exec("/tmp/evil")).exitCode).not.toBe(0);
      await evil.exec("/bin/true");
    }
    const log = await evil.log();
    expect(log).toContain("found");
    expect(log).not.toContain("wrote");
    const ours = (await run("pgrep", ["-f", "^berth-(launcher|monitor|init)"])).trim().split("\n");
    expect(ours.length).toBeGreaterThan(2);
    for (const pid of ours) expect(readFileSync(`/proc/${pid}/exe`).equals(native), pid).toBe(true);
  }, 120_000);
});

describe("output without end", () => {
  it("of an exec costs the server nothing (CVE-2022-1708, CVE-2022-31030)", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const memory = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]) / 1024;
    const start = memory();
    await container.exec("/bin/sh", "-c", "timeout 4 yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; true");
    // Sixteen MiB are kept, and pass through a few hands as one answer.
    expect(memory() - start).toBeLessThan(160);
  });
});
