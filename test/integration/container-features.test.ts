import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ContainerConfig,
  type DeepPartial,
  type LinuxContainerSecurityContext,
  NamespaceMode,
  SecurityProfile_ProfileType as ProfileType,
} from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { nginx, pull, TestPod } from "../lib/pod.ts";

let server: Berthd;
let pod: TestPod;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  pod = await TestPod.run(server, { hostname: "features", linux: { securityContext: { privileged: true } } });
});

afterAll(async () => {
  await pod.remove();
  await server[Symbol.asyncDispose]();
});

/** A sleeping container with this security context. */
const secured = (
  securityContext: DeepPartial<LinuxContainerSecurityContext>,
  config: DeepPartial<ContainerConfig> = {},
) => pod.start({ ...config, linux: { ...config.linux, securityContext } });

const folder = (name: string) => {
  const path = join(server.dir, name);
  mkdirSync(path, { recursive: true });
  return path;
};

describe("devices", () => {
  it("are the usual ones, and no more", async () => {
    const container = await pod.start();
    const list = await container.sh(
      "cd /dev && find . -type c -o -type b | grep -v pts/ | sort | tr '\\n' ' '",
    );
    expect(list.trim()).toBe("./full ./null ./random ./tty ./urandom ./zero");
    expect(await container.sh("for f in fd ptmx stdout; do readlink /dev/$f; done | tr '\\n' ' '")).toBe(
      "/proc/self/fd pts/ptmx /proc/self/fd/1",
    );
    expect(await container.sh("stat -c '%a %u %g' /dev/null /dev/pts/ptmx /dev/shm | tr '\\n' ' '")).toBe(
      "666 0 0 666 0 0 1777 0 0",
    );
  });

  it("can be asked for, one or a folder of them, with permissions", async () => {
    const container = await pod.start({
      devices: [
        { hostPath: "/dev/zero", containerPath: "/dev/nothing", permissions: "r" },
        { hostPath: "/dev/net", containerPath: "/dev/network", permissions: "rwm" },
      ],
    });
    expect(await container.sh("head -c 3 /dev/nothing | od -An -tx1")).toBe("00 00 00");
    expect(await container.sh("ls /dev/network")).toBe("tun");
    expect(
      (await container.exec("/bin/sh", "-c", "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg")).exitCode,
    ).not.toBe(0);
  });

  it("are refused when the host has none there", async () => {
    for (const hostPath of ["/dev/none", "/etc"]) {
      const devices = [{ hostPath, containerPath: "/dev/x", permissions: "rwm" }];
      await expect(pod.create({ devices })).rejects.toThrow(`devices.host_path: "${hostPath}"`);
    }
  });

  it("of the host are all in a privileged container", async () => {
    const container = await secured({ privileged: true });
    expect(Number(await container.sh("find /dev -type c | wc -l"))).toBeGreaterThan(8);
    expect(
      await container.sh("mkdir /mnt && mount -t tmpfs none /mnt && touch /sys/fs/cgroup && echo yes"),
    ).toBe("yes");
  });
});

describe("mounts", () => {
  it("honour noexec, nosuid, nodev and read-only, and are made where the image has nothing", async () => {
    const hostPath = folder("options");
    writeFileSync(join(hostPath, "run"), "#!/bin/sh\necho ran\n", { mode: 0o755 });
    const mount = {
      hostPath,
      containerPath: "/a/b/c",
      readonly: true,
      mountOptions: ["noexec", "nosuid", "nodev"],
    };
    const container = await pod.start({ mounts: [mount] });
    const line = await container.sh("grep ' /a/b/c ' /proc/self/mounts");
    for (const option of ["ro", "noexec", "nosuid", "nodev"]) expect(line.split(/[ ,]/)).toContain(option);
    await expect(container.exec("/a/b/c/run")).rejects.toThrow("permission denied");
  });

  it("lie in each other by depth, in whatever order they come", async () => {
    for (const name of ["outer", "outer/in", "inner"]) folder(name);
    writeFileSync(join(folder("inner"), "mark"), "inner");
    const container = await pod.start({
      mounts: [
        { hostPath: folder("inner"), containerPath: "/m/in" },
        { hostPath: folder("outer"), containerPath: "/m" },
      ],
    });
    expect(await container.sh("cat /m/in/mark; ls /m")).toBe("innerin");
  });

  it("may be single files, and may stand over the pod's own", async () => {
    const hosts = join(folder("files"), "hosts");
    writeFileSync(hosts, "10.0.0.9 nine\n");
    const container = await pod.start({ mounts: [{ hostPath: hosts, containerPath: "/etc/hosts" }] });
    expect(await container.sh("cat /etc/hosts /etc/hostname")).toBe("10.0.0.9 nine\nfeatures");
  });

  it("of a path that is missing are refused by name", async () => {
    const mounts = [{ hostPath: "/no/such/path", containerPath: "/x" }];
    await expect(pod.create({ mounts })).rejects.toThrow('mounts.host_path: "/no/such/path"');
  });

  it("take an image's content, whole or a part, read-only but executable", async () => {
    await pull(server, nginx);
    const { image } = await server.image.imageStatus({ image: { image: nginx } });
    const spec = { image: image?.id ?? "" };
    const container = await pod.start({
      mounts: [
        { containerPath: "/web", image: spec, readonly: true },
        { containerPath: "/part", image: spec, imageSubPath: "etc", readonly: true },
      ],
    });
    expect(await container.sh("ls /web/etc/passwd /part/passwd")).toBe("/part/passwd\n/web/etc/passwd");
    expect((await container.exec("/bin/touch", "/web/x")).exitCode).not.toBe(0);
    expect(await container.sh("grep ' /web ' /proc/self/mounts")).not.toContain("noexec");
    const missing = { containerPath: "/x", image: spec, imageSubPath: "no/such", readonly: true };
    await expect(pod.create({ mounts: [missing] })).rejects.toThrow(/ImageVolumeMountFailed/);
  });
});

describe("a process", () => {
  it("gets its OOM score, open files and mask set, not inherited", async () => {
    const own = Number(readFileSync("/proc/self/oom_score_adj", "utf8"));
    const container = await pod.start({ linux: { resources: { oomScoreAdj: BigInt(own + 300) } } });
    const script = "cat /proc/self/oom_score_adj; ulimit -n; umask; ls /proc/self/fd | wc -l";
    // ls itself holds the directory open.
    expect((await container.sh(script)).split("\n")).toEqual([String(own + 300), "1024", "0022", "4"]);
  });

  it("has only what its capabilities say, in exec as in the first", async () => {
    const container = await secured({
      capabilities: { addCapabilities: ["NET_ADMIN"], dropCapabilities: ["ALL"] },
    });
    const sets = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/PID/status | cut -f2 | tr '\\n' ' '";
    const expected = "0000000000000000 0000000000001000 0000000000001000 0000000000001000 0000000000000000";
    expect(await container.sh(sets.replace("PID", "1"))).toBe(expected);
    expect(await container.sh(sets.replace("PID", "self"))).toBe(expected);
  });

  it("of an ordinary user keeps an ambient capability", async () => {
    const container = await secured({
      runAsUser: { value: 1000n },
      capabilities: { dropCapabilities: ["ALL"], addAmbientCapabilities: ["CAP_NET_BIND_SERVICE"] },
    });
    expect(await container.sh("grep -E 'Cap(Eff|Amb)' /proc/self/status | cut -f2 | tr '\\n' ' '")).toBe(
      "0000000000000400 0000000000000400",
    );
  });

  it("can join another container's PIDs", async () => {
    const target = await pod.script("exec sleep 777");
    const container = await secured({
      namespaceOptions: {
        pid: NamespaceMode.TARGET,
        targetId: target.id,
        network: NamespaceMode.POD,
        ipc: NamespaceMode.POD,
      },
    });
    expect(await container.sh("cat /proc/1/cmdline | tr '\\0' ' '")).toBe("sleep 777");
  });

  it("can live at another time", async () => {
    const day = 86_400;
    const key = "time.berth.dev/boottime-offset-seconds";
    if (!existsSync("/proc/self/ns/time")) {
      await expect(pod.create({ annotations: { [key]: "1" } })).rejects.toThrow("no time namespaces");
      return;
    }
    const container = await pod.start({ annotations: { [key]: String(100 * day) } });
    expect(Number((await container.sh("cat /proc/uptime")).split(".")[0])).toBeGreaterThan(100 * day);
    const bad = pod.create({ annotations: { [key]: "tomorrow" } });
    await expect(bad).rejects.toThrow('"tomorrow"');
  });

  it("is filtered by a profile of one's own, or by none", async () => {
    const localhostRef = join(folder("seccomp"), "profile.json");
    const profile = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 13 }],
    };
    writeFileSync(localhostRef, JSON.stringify(profile));
    const strict = await secured({ seccomp: { profileType: ProfileType.Localhost, localhostRef } });
    expect((await strict.exec("/bin/mkdir", "/x")).stderr).toContain("Permission denied");
    const free = await secured({ seccomp: { profileType: ProfileType.Unconfined } });
    expect(await free.sh("grep Seccomp: /proc/self/status | cut -f2")).toBe("0");
    const usual = await secured({ seccomp: { profileType: ProfileType.RuntimeDefault } });
    expect(
      await usual.sh("grep Seccomp: /proc/1/status | cut -f2; grep Seccomp: /proc/self/status | cut -f2"),
    ).toBe("2\n2");
    writeFileSync(localhostRef, "{");
    await expect(secured({ seccomp: { profileType: ProfileType.Localhost, localhostRef } })).rejects.toThrow(
      `seccomp profile ${localhostRef}: not JSON`,
    );
  });

  it("finds every byte of its environment", async () => {
    const container = await pod.start({
      envs: [
        { key: "BYTES", value: Buffer.from([0x61, 0xff, 0xfe, 0x0a, 0x62]) },
        { key: "TWICE", value: Buffer.from("1") },
        { key: "TWICE", value: Buffer.from("2") },
      ],
    });
    expect(await container.sh('printf %s "$BYTES" | od -An -tx1; echo $TWICE $HOSTNAME $HOME')).toBe(
      "61 ff fe 0a 62\n2 features /root",
    );
  });
});
