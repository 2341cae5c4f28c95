import { readlinkSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ContainerState, NamespaceMode, PodSandboxState } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { hasTimeNamespaces } from "../lib/kernel.ts";
import { nginx, pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  await pull(server, nginx);
  // The bridge and its rules stay from the first pod on.
  await using _first = await TestPod.run(server);
});

afterAll(() => server[Symbol.asyncDispose]());

const kinds = ["net", "ipc", "uts", "mnt", "pid", "cgroup", "user", ...(hasTimeNamespaces ? ["time"] : [])];

function hostNamespaces(): Record<string, string> {
  return Object.fromEntries(kinds.map((kind) => [kind, readlinkSync(`/proc/self/ns/${kind}`)]));
}

async function namespacesIn(
  container: Awaited<ReturnType<TestPod["start"]>>,
): Promise<Record<string, string>> {
  const lines = (await container.sh(`for n in ${kinds.join(" ")}; do readlink /proc/self/ns/$n; done`)).split(
    "\n",
  );
  return Object.fromEntries(kinds.map((kind, index) => [kind, lines[index] ?? ""]));
}

describe("a pod with two containers", () => {
  it("shares network, IPC and hostname, and a volume", async () => {
    const volume = join(server.dir, "volume");
    await mkdir(volume, { recursive: true });
    await writeFile(join(volume, "from-host"), "hello");
    const mounts = [{ hostPath: volume, containerPath: "/data" }];
    await using pod = await TestPod.run(server, { hostname: "a-pod" });
    const web = await pod.start({ image: { image: nginx }, command: [], mounts });
    const shell = await pod.start({ mounts });

    await eventually(() => shell.sh("wget -q -O- http://127.0.0.1:80/ | grep -i nginx"));
    expect(await shell.sh("hostname")).toBe("a-pod");
    expect(await shell.sh("cat /data/from-host; echo written > /data/from-shell")).toBe("hello");
    expect(await web.sh("cat /data/from-shell")).toBe("written");
    await shell.sh("echo shm > /dev/shm/shared");
    expect(await web.sh("cat /dev/shm/shared")).toBe("shm");
  });

  it("has namespaces of the host's, the pod's and the container's, each where it should", async () => {
    await using pod = await TestPod.run(server);
    const one = await namespacesIn(await pod.start());
    const other = await namespacesIn(await pod.start());
    const host = hostNamespaces();
    for (const kind of ["net", "ipc", "uts"]) {
      expect(one[kind], kind).toBe(other[kind]);
      expect(one[kind], kind).not.toBe(host[kind]);
    }
    for (const kind of ["mnt", "pid", "cgroup"]) {
      expect(one[kind], kind).not.toBe(other[kind]);
      expect(one[kind], kind).not.toBe(host[kind]);
    }
    expect(one.user).toBe(host.user);
    expect(one.time).toBe(host.time);
  });

  it("stays in the host's namespaces where it is told to", async () => {
    const namespaceOptions = {
      network: NamespaceMode.NODE,
      ipc: NamespaceMode.NODE,
      pid: NamespaceMode.NODE,
    };
    await using pod = await TestPod.run(server, { linux: { securityContext: { namespaceOptions } } });
    const container = await pod.start({ linux: { securityContext: { namespaceOptions } } });
    const inside = await namespacesIn(container);
    const host = hostNamespaces();
    for (const kind of ["net", "ipc", "pid", "uts"]) expect(inside[kind], kind).toBe(host[kind]);
    expect((await pod.status()).linux?.namespaces?.options?.network).toBe(NamespaceMode.NODE);
  });

  it("shares its PIDs under a native init when asked to", async () => {
    const namespaceOptions = { pid: NamespaceMode.POD };
    await using pod = await TestPod.run(server, { linux: { securityContext: { namespaceOptions } } });
    const one = await pod.start({ linux: { securityContext: { namespaceOptions } } });
    const other = await pod.start({ linux: { securityContext: { namespaceOptions } } });
    expect((await namespacesIn(one)).pid).toBe((await namespacesIn(other)).pid);
    expect(await one.sh("ps | grep -c 'sleep 8640[0]'")).toBe("2");
    // An orphan is reaped by the pod's init, not left as a zombie.
    await one.sh("(sh -c 'sleep 0.1 & exit') ; sleep 0.5; ps -o stat | grep -c '^Z' || true");
    expect(await one.sh("ps -o stat | grep -c '^Z' || true")).toBe("0");
  });
});

describe("what a container finds", () => {
  it("has the usual file systems, its own resolv.conf, and nothing of the host", async () => {
    await using pod = await TestPod.run(server, {
      hostname: "finder",
      dnsConfig: { servers: ["10.1.2.3"], searches: ["example.test"], options: ["ndots:2"] },
    });
    const container = await pod.start();
    const mounts = await container.sh("cut -d' ' -f2,3 /proc/mounts");
    for (const line of [
      "/proc proc",
      "/sys sysfs",
      "/dev tmpfs",
      "/dev/pts devpts",
      "/dev/mqueue mqueue",
      "/dev/shm tmpfs",
    ]) {
      expect(mounts).toContain(line);
    }
    expect(await container.sh("cat /etc/resolv.conf")).toBe(
      "search example.test\nnameserver 10.1.2.3\noptions ndots:2",
    );
    expect(await container.sh("cat /etc/hostname")).toBe("finder");
    expect(await container.sh("ls / | tr '\\n' ' '")).not.toContain("host");
    expect(mounts).not.toContain(server.dir);
  });

  it("takes user, groups, environment, working directory, capabilities and limits from its config", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start({
      workingDir: "/made/for/it",
      envs: [{ key: "GREETING", value: Buffer.from("hello") }],
      linux: {
        securityContext: {
          runAsUser: { value: 1234n },
          runAsGroup: { value: 2345n },
          supplementalGroups: [3456n],
          noNewPrivs: true,
          capabilities: { dropCapabilities: ["ALL"], addCapabilities: ["NET_RAW"] },
          readonlyRootfs: true,
        },
      },
    });
    expect(await container.sh("id -u; id -g; id -G; pwd; echo $GREETING")).toBe(
      "1234\n2345\n2345 3456\n/made/for/it\nhello",
    );
    const status = await container.sh("cat /proc/1/status");
    expect(status).toMatch(/^CapBnd:\s+0000000000002000$/m);
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    expect((await container.exec("touch", "/file")).exitCode).not.toBe(0);
    expect((await container.status()).user?.linux?.uid).toBe(1234n);
  });

  it("filters system calls with the runtime's default profile only when asked", async () => {
    await using pod = await TestPod.run(server);
    const filtered = await pod.start({ linux: { securityContext: { seccomp: { profileType: 0 } } } });
    const open = await pod.start({ linux: { securityContext: { seccomp: { profileType: 1 } } } });
    expect(await filtered.sh("grep Seccomp: /proc/1/status")).toMatch(/2$/);
    expect(await open.sh("grep Seccomp: /proc/1/status")).toMatch(/0$/);
  });
});

describe("a pod's life", () => {
  it("reports every state and time on the way", async () => {
    const before = await footprint(server);
    const pod = await TestPod.run(server, { labels: { a: "1" }, annotations: { b: "ümlaut\n\0" } });
    const { state, labels, annotations, createdAt } = await pod.status();
    expect(state).toBe(PodSandboxState.SANDBOX_READY);
    expect({ labels, annotations }).toEqual({ labels: { a: "1" }, annotations: { b: "ümlaut\n\0" } });
    expect(createdAt).toBeGreaterThan(0n);

    const container = await pod.create({ command: ["/bin/sh", "-c", "exit 7"] });
    expect(await container.status()).toMatchObject({
      state: ContainerState.CONTAINER_CREATED,
      startedAt: 0n,
      finishedAt: 0n,
    });
    await container.start();
    const exited = await container.exited();
    expect(exited).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 7, reason: "Error" });
    expect(exited.startedAt).toBeGreaterThan(0n);
    expect(exited.finishedAt).toBeGreaterThanOrEqual(exited.startedAt);

    await container.remove();
    await expect(container.status()).rejects.toMatchObject({ code: 5 });
    await pod.stop();
    expect((await pod.status()).state).toBe(PodSandboxState.SANDBOX_NOTREADY);
    await pod.stop();
    await pod.remove();
    await pod.remove();
    await expect(pod.status()).rejects.toMatchObject({ code: 5 });
    await expectNothingLeft(server, before);
  });

  it("kills with the grace that it is given", async () => {
    await using pod = await TestPod.run(server);
    const polite = await pod.script("trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done");
    await new Promise((resolve) => setTimeout(resolve, 300));
    await polite.stop(10);
    expect((await polite.status()).exitCode).toBe(3);
    expect(await polite.log()).toContain("stdout F bye");

    const stubborn = await pod.script("trap '' TERM; while :; do sleep 0.1; done");
    await new Promise((resolve) => setTimeout(resolve, 300));
    const start = performance.now();
    await stubborn.stop(1);
    expect(performance.now() - start).toBeGreaterThan(900);
    expect((await stubborn.status()).exitCode).toBe(137);
  });

  it("moves a container that cannot start to EXITED with a reason", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.create({ command: ["/no/such/program"] });
    await expect(container.start()).rejects.toThrow("/no/such/program");
    const status = await container.status();
    expect(status).toMatchObject({
      state: ContainerState.CONTAINER_EXITED,
      reason: "StartError",
      exitCode: 128,
    });
    expect(status.finishedAt).toBeGreaterThan(0n);
  });
});

describe("ExecSync", () => {
  it("passes exit code and both streams", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    expect(await container.exec("/bin/sh", "-c", "echo out; echo err >&2; exit 5")).toEqual({
      exitCode: 5,
      stdout: "out\n",
      stderr: "err\n",
    });
  });

  it("kills the whole group at its timeout and says DeadlineExceeded", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const cmd = ["/bin/sh", "-c", "sleep 7777 & sleep 7777"];
    await expect(
      server.runtime.execSync({ containerId: container.id, cmd, timeout: 1 }),
    ).rejects.toMatchObject({ code: 4 });
    expect(await container.sh("ps | grep -c 'sleep 777[7]' || true")).toBe("0");
  });

  it("answers when the program ends though a grandchild holds its output", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const start = performance.now();
    expect((await container.exec("/bin/sh", "-c", "sleep 5 & echo done")).stdout).toBe("done\n");
    expect(performance.now() - start).toBeLessThan(4000);
  });

  it("runs many at once", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const outputs = await Promise.all(Array.from({ length: 40 }, (_, n) => container.sh(`echo ${n}`)));
    expect(outputs).toEqual(Array.from({ length: 40 }, (_, n) => String(n)));
  });
});
