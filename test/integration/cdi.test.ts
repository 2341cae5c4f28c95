import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { pull, TestPod } from "../lib/pod.ts";

/** Folders for the specs, known before the server's own. */
const dir = `/tmp/berth-cdi-${process.pid}`;
const low = join(dir, "etc");
const high = join(dir, "run");

/** As vendors' hooks do: finds the root by the state and the bundle, and changes what is in it. */
const vendorTool = `#!/bin/sh
state=$(cat)
case $1 in
fail) echo "no driver here" >&2; exit 3 ;;
hang) sleep 60 ;;
esac
bundle=$(echo "$state" | sed 's/.*"bundle":"\\([^"]*\\)".*/\\1/')
pid=$(echo "$state" | sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
root=$bundle/$(sed 's/.*"root":{"path":"\\([^"]*\\)".*/\\1/' "$bundle/config.json")
echo "$1 $SAY $0" >>"$root/etc/vendor.log"
ls /proc/self/fd | tr '\\n' ' ' >>"$root/etc/vendor.log"
echo >>"$root/etc/vendor.log"
[ "$(readlink /proc/$pid/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ] && echo same namespace >>"$root/etc/vendor.log"
mkdir -p "$root/etc/vendor.d" && mount -t tmpfs -o size=4k vendor "$root/etc/vendor.d" && echo mounted >"$root/etc/vendor.d/file"
`;

let server: Berthd;
let pod: TestPod;

beforeAll(async () => {
  mkdirSync(low, { recursive: true });
  writeFileSync(join(dir, "library"), "a library\n");
  writeFileSync(join(dir, "vendor-tool"), vendorTool, { mode: 0o755 });
  writeFileSync(
    join(low, "vendor.yaml"),
    `cdiVersion: 0.8.0
kind: vendor.com/device
containerEdits:
  env: [VENDOR=all]
  mounts:
    - {hostPath: ${dir}/library, containerPath: /usr/lib/vendor.so, options: [ro, nosuid, nodev, bind]}
devices:
  - name: zero
    containerEdits:
      env: [DEVICE=0]
      deviceNodes:
        - {path: /dev/vendor0, hostPath: /dev/zero, fileMode: 0640, permissions: r, gid: 77}
      additionalGids: [77]
  - name: loops
    containerEdits:
      env: [DEVICE=loops]
      deviceNodes:
        - {path: /dev/vendor1, type: c, major: 10, minor: 237}
  - name: late
    containerEdits:
      hooks:
        - {hookName: poststart, path: /usr/bin/vendor-tool, args: [vendor-tool, links]}
  - name: hooked
    containerEdits:
      hooks:
        - {hookName: createContainer, path: ${dir}/vendor-tool, args: [vendor-tool, first], env: [SAY=hello]}
        - {hookName: createContainer, path: ${dir}/vendor-tool, args: [vendor-tool, second]}
  - name: broken
    containerEdits:
      hooks:
        - {hookName: createContainer, path: ${dir}/vendor-tool, args: [vendor-tool, fail]}
  - name: stuck
    containerEdits:
      hooks:
        - {hookName: createContainer, path: ${dir}/vendor-tool, args: [vendor-tool, hang], timeout: 1}
  - name: absent
    containerEdits:
      hooks:
        - {hookName: createContainer, path: ${dir}/no-such-tool}
`,
  );
  server = await Berthd.start({ flags: ["--cdi-spec-dir", low, "--cdi-spec-dir", high] });
  await pull(server);
  pod = await TestPod.run(server);
});

afterAll(async () => {
  await pod.remove();
  await server[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

const named = (...names: string[]) => names.map((name) => ({ name: `vendor.com/device=${name}` }));

describe("a container with CDI devices", () => {
  it("has their nodes, environment, mounts and groups, and exec has them too", async () => {
    const container = await pod.start({
      CDIDevices: named("zero", "zero"),
      envs: [{ key: "DEVICE", value: Buffer.from("mine") }],
      linux: { securityContext: { runAsUser: { value: 1234n } } },
    });
    expect(await container.sh("stat -c '%a %u %g %t %T' /dev/vendor0")).toBe("640 1234 77 1 5");
    expect(await container.sh("head -c 2 /dev/vendor0 | od -An -tx1")).toBe("00 00");
    expect(await container.sh("echo $DEVICE $VENDOR; id -G; cat /usr/lib/vendor.so")).toBe(
      "0 all\n0 77\na library",
    );
    expect(await container.sh("grep ' /usr/lib/vendor.so ' /proc/self/mounts")).toMatch(/ ro,nosuid,nodev/);
    const { user } = await container.status();
    expect(user?.linux?.supplementalGroups).toEqual([0n, 77n]);
  });

  it("may open what they allow, and only that", async () => {
    // Whether this kernel has a driver for it is another matter.
    const container = await pod.start({ CDIDevices: named("loops") });
    expect(await container.sh("(: </dev/vendor1) 2>&1 || true")).not.toContain("not permitted");
    const plain = await pod.start();
    expect(await plain.sh("mknod /tmp/loops c 10 237; (: </tmp/loops) 2>&1 || true")).toContain(
      "not permitted",
    );
  });

  it("may name them by annotation", async () => {
    const annotations = { "cdi.k8s.io/plugin_zero": "vendor.com/device=zero" };
    const container = await pod.start({ annotations });
    expect(await container.sh("echo $DEVICE")).toBe("0");
  });

  it("sees a spec that came or changed since, in the directory that counts", async () => {
    mkdirSync(high);
    const devices = [{ name: "zero", containerEdits: { env: ["DEVICE=late"] } }];
    writeFileSync(
      join(high, "late.json"),
      JSON.stringify({ cdiVersion: "1.0.0", kind: "vendor.com/device", devices }),
    );
    const container = await pod.start({ CDIDevices: named("zero") });
    expect(await container.sh("echo $DEVICE $VENDOR")).toBe("late");
  });

  it("is finished by the hooks of the device, which see its root", async () => {
    const container = await pod.start({
      CDIDevices: named("hooked"),
      linux: { securityContext: { readonlyRootfs: true } },
    });
    const tool = join(dir, "vendor-tool");
    expect(await container.sh("cat /etc/vendor.log")).toBe(
      `first hello ${tool}\n0 1 2 3 \nsame namespace\nsecond  ${tool}\n0 1 2 3 \nsame namespace`,
    );
    expect(await container.sh("cat /etc/vendor.d/file; grep -c ' /etc/vendor.d ' /proc/self/mounts")).toBe(
      "mounted\n2",
    );
    // What a hook has mounted is the container's alone.
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toMatch(/vendor\.d|bundle/);
  });

  it("fails with a hook, says why and leaves nothing", async () => {
    const before = await footprint(server);
    await expect(pod.create({ CDIDevices: named("broken") })).rejects.toThrow(
      /vendor-tool: exit code 3: no driver here/,
    );
    await expect(pod.create({ CDIDevices: named("stuck") })).rejects.toThrow(
      /vendor-tool: not done after 1 s/,
    );
    await expectNothingLeft(server, before, 15_000);
  });

  it("is refused by name where a device is unknown or asks for what is not offered", async () => {
    await expect(pod.create({ CDIDevices: named("none") })).rejects.toThrow(
      '"vendor.com/device=none" is not defined',
    );
    await expect(pod.create({ CDIDevices: named("late") })).rejects.toThrow(
      "hook poststart /usr/bin/vendor-tool",
    );
    await expect(pod.create({ CDIDevices: named("absent") })).rejects.toThrow(
      'no-such-tool" is not a program of this machine',
    );
  });
});
