import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { pushHostile } from "../lib/hostile-image.ts";
import { pull, TestPod } from "../lib/pod.ts";

const up = "../../../../../../../../..";
/** Below the /run of this run alone, and always the same, so that the images are the same too. */
const outside = "/run/outside";
const watched = ["core_pattern", "shm_rmid_forced", "hostname", "panic"].map(
  (name) => `/proc/sys/kernel/${name}`,
);
const look = () => watched.map((file) => readFileSync(file, "utf8"));
const before = look();

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  mkdirSync(outside);
  writeFileSync(join(outside, "secret"), "the host's");
});

afterEach(() => {
  expect(readdirSync(outside)).toEqual(["secret"]);
  expect(look()).toEqual(before);
});

afterAll(async () => {
  rmSync(outside, { recursive: true });
  await server[Symbol.asyncDispose]();
});

describe("a pod's sysctls", () => {
  const evil = "|/bin/sh -c evil";
  it.each([
    ["kernel.shm_rmid_forced", `1+kernel.core_pattern=${evil}`],
    ["kernel.shm_rmid_forced", `1\nkernel.core_pattern=${evil}`],
    [`kernel.shm_rmid_forced=1 kernel.core_pattern`, evil],
    ["kernel.shmmax/../core_pattern", evil],
    ["kernel/shm_rmid_forced/../core_pattern", evil],
    ["kernel.sem.../core_pattern", evil],
    ["net...kernel.core_pattern", evil],
    ["net/../kernel/core_pattern", evil],
    ["fs.mqueue../../kernel/core_pattern", evil],
    ["kernel.core_pattern", evil],
    ["kernel.panic", "1"],
    ["vm.overcommit_memory", "1"],
    ["user.max_user_namespaces", "0"],
  ])("%s = %j change nothing of the machine's (CVE-2022-0811, CVE-2022-0532)", async (key, value) => {
    await expect(TestPod.run(server, { linux: { sysctls: { [key]: value } } })).rejects.toThrow();
  });
});

describe("annotations", () => {
  it("that steer other runtimes do nothing here (CVE-2023-6476, CVE-2024-3154)", async () => {
    const annotations = {
      "org.systemd.property.ExecStopPost": "'/bin/sh -c touch /run/outside/evil'",
      "org.systemd.property.DeviceAllow": "['/dev/sda rwm']",
      "io.kubernetes.cri-o.UnifiedCgroup.container-1": "memory.max=max",
      "io.kubernetes.cri-o.userns-mode": "auto",
      "io.kubernetes.cri-o.Devices": "/dev/mem:/dev/mem:rwm",
      "io.kubernetes.cri-o.ShmSize": "1Gi",
      "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel": "true",
      "io.containerd.runc.v2.group": "evil",
      "run.oci.mount_context_type": "rootcontext",
      "run.oci.delegate-cgroup": "../../..",
      "run.oci.hooks.stderr": join(outside, "evil"),
      "module.wasm.image/variant": "compat",
      "container.apparmor.security.beta.kubernetes.io/container-1": "unconfined",
      "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
      "cdi.k8s.io/all": "vendor.test/class=all",
    };
    await using pod = await TestPod.run(server, { annotations });
    // Of a container's own, the last one is what device plugins send, and is refused if there is no such device.
    const { "cdi.k8s.io/all": _cdi, ...others } = annotations;
    const container = await (await pod.create({ annotations: others })).start();
    const plain = await (await pod.create()).start();
    const shape =
      "ls /dev; cut -d: -f2- /proc/self/cgroup; grep -e Cap -e Seccomp /proc/self/status; df -k /dev/shm | tail -1";
    expect(await container.sh(shape)).toBe(await plain.sh(shape));
    await expect(pod.create({ annotations })).rejects.toThrow("vendor.test/class=all");
  });
});

describe("an image volume's sub path", () => {
  it("ends in the image, whatever links it has (CVE-2024-9675)", async () => {
    const image = await pushHostile({
      name: "sub-path",
      entries: [
        { name: "climbs", type: "2", link: `${up}${outside}` },
        { name: "absolute", type: "2", link: outside },
        { name: "inside", type: "2", link: "/etc" },
      ],
    });
    await pull(server, image);
    await using pod = await TestPod.run(server);
    const at = (imageSubPath: string) => ({
      mounts: [{ image: { image }, imageSubPath, containerPath: "/volume", readonly: true }],
    });
    for (const path of [
      "climbs",
      "absolute",
      "climbs/secret",
      "absolute/secret",
      "../..",
      "etc/../../..",
      "/etc",
    ]) {
      await expect(pod.create(at(path)), path).rejects.toThrow(/ImageVolumeMountFailed|image_sub_path/);
    }
    const container = await (await pod.create(at("inside"))).start();
    expect(await container.sh("grep -c root:x:0 /volume/passwd; touch /volume/x 2>&1 || true")).toContain(
      "1\n",
    );
  });
});

describe("a checkpoint", () => {
  it("is neither made nor believed (CVE-2024-8676, CVE-2026-50195)", async () => {
    await using pod = await TestPod.run(server);
    const { id: containerId } = await pod.start();
    const location = join(outside, "checkpoint.tar");
    await expect(
      server.runtime.checkpointContainer({ containerId, location, timeout: 1n }),
    ).rejects.toMatchObject({
      code: 12,
    });
  });
});
