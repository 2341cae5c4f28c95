import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ContainerConfig,
  type DeepPartial,
  NamespaceMode,
  SecurityProfile_ProfileType as Profile,
} from "../../proto/gen/api.ts";
import { attacker } from "../lib/attacker.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { cgroupVersion } from "../lib/kernel.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";

/** What the kubelet sends for an ordinary container (pkg/securitycontext). */
const maskedPaths = [
  "acpi",
  "asound",
  "interrupts",
  "kcore",
  "keys",
  "latency_stats",
  "sched_debug",
  "timer_list",
]
  .map((name) => `/proc/${name}`)
  .concat("/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap");
const readonlyPaths = ["bus", "fs", "irq", "sys", "sysrq-trigger"].map((name) => `/proc/${name}`);
const usual = { maskedPaths, readonlyPaths, seccomp: { profileType: Profile.RuntimeDefault } };

type Security = NonNullable<DeepPartial<ContainerConfig>["linux"]>["securityContext"];

let server: Berthd;
let pod: TestPod;
let mount: Awaited<ReturnType<typeof attacker>>;
let container: TestContainer;

const start = async (securityContext: Security = {}, within = pod) =>
  (
    await within.create({ mounts: [mount], linux: { securityContext: { ...usual, ...securityContext } } })
  ).start();

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  mount = await attacker(server);
  pod = await TestPod.run(server);
  container = await start();
});

afterAll(() => server[Symbol.asyncDispose]());

describe("a container has of ours", () => {
  it("no descriptor, at its start and in an exec (CVE-2024-21626, CVE-2016-9962)", async () => {
    const list = "ls -l /proc/self/fd 2>/dev/null | awk '$11 ~ /./ {print $9, $11}' | grep -v /proc/";
    for (const config of [{}, { tty: true }, { stdin: true }]) {
      const made = await (
        await pod.create({ ...config, command: ["/bin/sh", "-c", `${list}; sleep 1000`] })
      ).start();
      const own = await eventually(async () => {
        const log = (await made.log()).split("\n").filter((line) => line !== "");
        if (log.length < 3) throw new Error(`only ${log.length} lines`);
        return log.map((line) => line.split(" ").slice(3).join(" ").trim());
      });
      expect(own.filter((line) => !/^[012] (pipe:|\/dev\/(null|pts))/.test(line))).toEqual([]);
      expect(
        (await made.sh(list)).split("\n").filter((line) => !/^[012] (pipe:|\/dev\/null)/.test(line)),
      ).toEqual([]);
    }
  });

  it("no session keyring, and no environment", async () => {
    const keys = await start({ seccomp: { profileType: Profile.Unconfined }, maskedPaths: [] });
    expect(await keys.sh(`/attacker keyring ${keys.id}`)).toBe("its own");
    expect((await keys.sh("tr '\\0' '\\n' </proc/1/environ | cut -d= -f1 | sort")).split("\n")).toEqual([
      "HOME",
      "HOSTNAME",
      "PATH",
    ]);
  });

  it("no keyring of the host's, even when it has used up all that it may have", async () => {
    const range = [{ hostId: 2_000_000, containerId: 0, length: 65_536 }];
    const usernsOptions = { mode: NamespaceMode.POD, uids: range, gids: range };
    const namespaceOptions = { pid: NamespaceMode.CONTAINER, usernsOptions };
    await using other = await TestPod.run(server, { linux: { securityContext: { namespaceOptions } } });
    const open = { namespaceOptions, seccomp: { profileType: Profile.Unconfined } };
    expect(await (await start(open, other)).sh("/attacker fill")).toBe("EDQUOT");
    // The next one in the pod has the same users, and so nothing left for a keyring of its own.
    const full = await start(open, other);
    const host = (await run(mount.hostPath, ["session"])).trim();
    expect(Number(host)).toBeGreaterThan(0);
    const inside = await full.sh("/attacker session");
    expect(Number(inside)).toBeGreaterThan(0);
    expect(inside).not.toBe(host);
  });

  it("no inheritable capability, whatever it was given (CVE-2022-24769, CVE-2022-29162)", async () => {
    const more = await start({ capabilities: { addCapabilities: ["NET_ADMIN", "SYS_PTRACE"] } });
    for (const one of [container, more]) {
      expect(await one.sh("grep -h Cap[IA] /proc/1/status /proc/self/status | cut -f2 | sort -u")).toBe(
        "0000000000000000",
      );
    }
  });
});

/** Shell commands that must not succeed, and what they would have reached. */
const attempts: readonly (readonly [string, string])[] = [
  ["core_pattern", "echo '|/bin/sh' >/proc/sys/kernel/core_pattern"],
  ["a sysctl of the machine's", "echo 0 >/proc/sys/kernel/panic"],
  ["a sysctl of the pod's own network", "echo 1 >/proc/sys/net/ipv4/ip_forward"],
  ["sysrq", "echo h >/proc/sysrq-trigger"],
  ["interrupts' affinity", "echo 1 >/proc/irq/default_smp_affinity"],
  ["the kernel's memory", "[ -s /proc/kcore ] && head -c 1 /proc/kcore | grep -q ."],
  ["the kernel's keys", "[ -s /proc/keys ]"],
  ["firmware", "ls /sys/firmware/* "],
  ["power meters", "ls /sys/devices/virtual/powercap/*"],
  ["sysfs", "echo 1 >/sys/kernel/profiling || echo 1 >/sys/kernel/mm/ksm/run"],
  ["the kernel's log device", "mknod /kmsg c 1 11 && cat /kmsg"],
  ["memory's device", "mknod /mem c 1 1 && head -c 1 /mem"],
  ["a second procfs", "mkdir -p /p && mount -t proc proc /p"],
  ["a writable procfs", "mount -o remount,rw /proc/sys"],
  ["what is masked", "umount /proc/kcore || umount -l /proc/keys"],
  ["a way out of its root", "mkdir -p /x && unshare -m true"],
  ["a user namespace", "unshare -U true"],
  ["another process's namespaces", "nsenter -t 1 -m true"],
  ["the host's name", "hostname evil"],
  ["the clock", "date -s 2030-01-01; [ $(date +%Y) = 2030 ]"],
  ["a module", "insmod /attacker"],
];

describe("a container as the kubelet makes it can't reach", () => {
  it.each(attempts)("%s", async (_what, command) => {
    const { exitCode } = await container.exec("/bin/sh", "-c", command);
    expect(exitCode).not.toBe(0);
  });

  it("its own limits, nor anybody else's (CVE-2023-25809, CVE-2022-0492)", async () => {
    const files = "find /sys/fs/cgroup -maxdepth 3 -name cgroup.procs -o -name tasks -o -name release_agent";
    const found = (
      await container.sh(`${files} -o -name '*.max' -o -name '*limit_in_bytes' | head -40`)
    ).split("\n");
    expect(found.length).toBeGreaterThan(cgroupVersion === 2 ? 0 : 3);
    for (const file of found) {
      expect((await container.exec("/bin/sh", "-c", `echo 0 >${file}`)).exitCode, file).not.toBe(0);
    }
    expect((await container.exec("/bin/mkdir", "/sys/fs/cgroup/evil")).exitCode).not.toBe(0);
  });

  it("a device that it was not given", async () => {
    for (const [kind, major, minor] of [
      ["b", 7, 0],
      ["b", 8, 0],
      ["c", 1, 1],
      ["c", 1, 11],
      ["c", 10, 229],
    ] as const) {
      expect(
        await container.sh(`/attacker device ${kind} ${major} ${minor}`),
        `${kind} ${major}:${minor}`,
      ).toBe("open EPERM");
    }
    expect(await container.sh("/attacker device c 1 3")).toBe("open let through");
  });
});

/** x86-64's numbers; each is a way into parts of the kernel that containers have no business with. */
const refusedCalls: readonly (readonly [string, ...(string | number)[]])[] = [
  ["io_uring_setup", 425, 1, 0],
  ["io_uring_enter", 426, 0],
  ["io_uring_register", 427, 0],
  ["bpf", 321, 0, 0, 0],
  ["userfaultfd", 323, 0],
  ["perf_event_open", 298, 0],
  ["open_by_handle_at", 304, -100, 0, 0],
  ["add_key", 248, 0],
  ["request_key", 249, 0],
  ["keyctl", 250, 0],
  ["unshare", 272, 0x10000000],
  ["setns", 308, 0, 0],
  ["clone with CLONE_NEWUSER", 56, 0x10000011, 0],
  ["mount", 165, 0],
  ["fsopen", 430, 0],
  ["move_mount", 429, -1, 0, -1, 0],
  ["mount_setattr", 442, -1, 0],
  ["open_tree_attr", 467, -1, 0],
  ["kexec_load", 246, 0],
  ["init_module", 175, 0],
  ["swapon", 167, 0],
  ["quotactl", 179, 0],
  ["lsm_set_self_attr", 460, 0],
  ["personality ADDR_NO_RANDOMIZE", 135, 0x40000],
  ["socket AF_ALG", 41, 38, 5, 0],
  ["socket AF_ALG, cut to 32 bits", 41, "0x100000026", 5, 0],
  ["socket AF_VSOCK", 41, 40, 1, 0],
  ["socket AF_VSOCK, cut to 32 bits", 41, "0x100000028", 1, 0],
];

describe.runIf(process.arch === "x64")("the default profile", () => {
  it.each(refusedCalls)("refuses %s", async (_name, ...words) => {
    expect(await container.sh(`/attacker call ${words.join(" ")}`)).toBe("EPERM");
  });

  it("says of what is newer than it, and of clone3, that there is no such call", async () => {
    for (const number of [435, 4000]) expect(await container.sh(`/attacker call ${number} 0`)).toBe("ENOSYS");
    // And the way of asking works.
    expect(await container.sh("/attacker call 41 2 1 0")).toBe("let through");
  });
});

describe("a process of ours on its way into a container", () => {
  const execs = async (target: TestContainer, count: number) => {
    for (let done = 0; done < count; done += 1) await target.exec("/bin/true");
  };
  /** What was reached of them, each thing once. */
  const spy = async (watcher: TestContainer, work: () => Promise<void>): Promise<readonly string[]> => {
    const watching = watcher.exec("/attacker", "spy", "6");
    await work();
    const lines = new Set((await watching).stdout.trim().split("\n"));
    expect([...lines]).toEqual(expect.arrayContaining(["seen", "over"]));
    return [...lines].filter((line) => line !== "seen" && line !== "over");
  };

  it("can't be looked into from there (CVE-2016-9962, CVE-2019-5736)", async () => {
    // Without no_new_privs loading the filter takes CAP_SYS_ADMIN; it has no more than that even then.
    const reached = await spy(container, () => execs(container, 60));
    expect(reached.filter((thing) => thing !== "reached capabilities 200000")).toEqual([]);
    const strict = await start({ noNewPrivs: true });
    expect(await spy(strict, () => execs(strict, 60))).toEqual([]);
  });

  it.each([true, false])(
    "has nothing of the host's for a container that may trace it (no_new_privs %s)",
    async (noNewPrivs) => {
      const tracer = await start({ noNewPrivs, capabilities: { addCapabilities: ["SYS_PTRACE"] } });
      const reached = await spy(tracer, () => execs(tracer, 80));
      const own =
        /^reached (exe|root|cwd|ns\/mnt|mem|environ|maps|auxv|it by ptrace|pipe:|socket:|\/dev\/null)$/;
      expect(reached.filter((thing) => !own.test(thing))).toEqual([]);
      // What an exec's own result needs is not in the way: programs, their absence, terminals, another user.
      await expect(tracer.exec("/no/such")).rejects.toThrow("no such file or directory");
      expect((await tracer.exec("/bin/sh", "-c", "exit 7")).exitCode).toBe(7);
      expect(await tracer.sh("grep Seccomp: /proc/self/status | cut -f2")).toBe("2");
    },
  );

  it("can't in a PID namespace that the pod shares, nor can its process 1", async () => {
    const shared = { namespaceOptions: { pid: NamespaceMode.POD } };
    await using other = await TestPod.run(server, { linux: { securityContext: shared } });
    const watcher = await start(shared, other);
    const reached = await spy(watcher, async () => {
      for (let made = 0; made < 8; made += 1) {
        const next = await start(shared, other);
        await execs(next, 3);
        await next.remove();
      }
    });
    // A container that is being made has its capabilities still; that it can't be entered is the point.
    expect(reached.filter((thing) => !thing.startsWith("reached capabilities"))).toEqual([]);
    const look =
      "ls /proc/1/root/ /proc/1/fd/ 2>/dev/null | grep -v -e : -e '^$'; readlink /proc/1/exe; kill -9 1; true";
    expect(await watcher.sh(look)).toBe("");
    expect((await watcher.status()).state).toBe(1);
  });
});
