import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ContainerConfig, DeepPartial } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { type HostileImage, pushHostile } from "../lib/hostile-image.ts";
import { pull, TestPod } from "../lib/pod.ts";
import type { TarEntry } from "../lib/tar-archive.ts";

/** Up to the host's root from wherever a runtime might resolve it. */
const up = "../../../../../../../../..";
const corePattern = "/proc/sys/kernel/core_pattern";

let server: Berthd;
let pod: TestPod;
/** Below the /run of this run alone, and always the same, so that the images are the same too. */
const outside = "/run/outside";
const pattern = readFileSync(corePattern, "utf8");

beforeAll(async () => {
  server = await Berthd.start();
  pod = await TestPod.run(server);
  mkdirSync(outside);
  writeFileSync(join(outside, "secret"), "the host's");
});

afterEach(() => {
  expect(readdirSync(outside)).toEqual(["secret"]);
  expect(readFileSync(corePattern, "utf8")).toBe(pattern);
});

afterAll(async () => {
  rmSync(outside, { recursive: true });
  await server[Symbol.asyncDispose]();
});

const link = (name: string, to: string): TarEntry => ({ name, type: "2", link: to, mode: 0o777 });

async function container(image: HostileImage, config: DeepPartial<ContainerConfig> = {}) {
  const name = await pushHostile(image);
  await pull(server, name);
  return await pod.create({ image: { image: name }, ...config });
}

describe("an image in which a mount point is a link", () => {
  it.each(["proc", "sys"])(
    "at /%s is refused (CVE-2019-19921, CVE-2023-27561, CVE-2025-54867)",
    async (name) => {
      for (const [index, to] of ["/tmp", `${up}${outside}`, "etc"].entries()) {
        const entries = [{ name: `${name}/`, type: "5" }, link(name, to)];
        await expect(container({ name: `link-${name}-${index}`, entries })).rejects.toThrow(
          `/${name} has to be a real directory`,
        );
      }
    },
  );

  it("at /dev gets its devices inside (CVE-2026-41579, CVE-2026-47766)", async () => {
    for (const [index, to] of [`${up}${outside}`, outside, "/etc"].entries()) {
      const image = { name: `link-dev-${index}`, entries: [link("dev", to)] };
      const made = await container(image);
      await made.start();
      expect(await made.sh("stat -c %t:%T /dev/null; readlink /dev/ptmx")).toBe("1:3\npts/ptmx");
      await expect(container(image, { tty: true })).rejects.toThrow("/dev/pts/ptmx in the container");
    }
  });

  it("at /etc gets the pod's files inside, and /etc/mtab is nobody's (CVE-2024-5154)", async () => {
    const entries = [link("etc", `${up}${outside}`)];
    const made = await container({ name: "link-etc", entries }, { workingDir: "/etc/work" });
    await made.start();
    expect(await made.sh("grep -c localhost /etc/hosts; readlink /proc/1/cwd; ls /etc/secret || true")).toBe(
      `2\n${outside}/work`,
    );
  });

  it("at one of the pod's files has nothing of the kernel's covered or written", async () => {
    for (const [index, file] of ["hosts", "resolv.conf", "hostname"].entries()) {
      const entries = [link(`etc/${file}`, corePattern)];
      await expect(container({ name: `link-file-${index}`, entries })).rejects.toThrow("in /proc");
    }
  });

  it("at /dev/null or /dev/console is not what covers masked files (CVE-2025-31133, CVE-2025-52565)", async () => {
    const entries = [link("dev/null", corePattern), link("dev/console", `${up}${outside}/console`)];
    const security = { linux: { securityContext: { maskedPaths: ["/proc/uptime"] } } };
    const made = await container({ name: "link-null", entries }, { tty: true, ...security });
    await made.start();
    expect(
      await made.sh("stat -c %t:%T /proc/uptime; cat /proc/uptime | wc -c; stat -c %F /dev/console"),
    ).toBe("1:3\n0\ncharacter special file");
  });

  it("on the way to its working directory has it made inside (CVE-2024-5154)", async () => {
    const entries = [link("way", `${up}${outside}`)];
    const made = await container({ name: "link-cwd", entries, config: { WorkingDir: "/way/new/deep" } });
    await made.start();
    expect(await made.sh("readlink /proc/1/cwd")).toBe(`${outside}/new/deep`);
  });
});

describe("an image whose configuration lies", () => {
  it("gets no descriptor of ours as its working directory (CVE-2024-21626)", async () => {
    for (let fd = 0; fd < 20; fd += 1) {
      for (const workingDir of [`/proc/self/fd/${fd}`, `/proc/self/fd/${fd}/${up}`]) {
        await expect(container({ name: "plain" }, { workingDir }), workingDir).rejects.toThrow();
      }
    }
  }, 120_000);

  it("gets nothing of the host's into a volume of its own (CVE-2022-23648)", async () => {
    const entries = [link("volume", `${up}${outside}`)];
    const Volumes = { [`/${up}${outside}`]: {}, "/volume": {}, "/proc/sys": {} };
    const made = await container({ name: "volumes", entries, config: { Volumes } });
    await made.start();
    expect(await made.sh(`cat ${outside}/secret /volume/secret 2>/dev/null || echo nothing`)).toBe("nothing");
  });

  it("controls nothing by its labels (CVE-2026-53488)", async () => {
    const Labels = {
      "io.kubernetes.cri-o.Volumes": "[]",
      "io.kubernetes.pod.name": "another",
      "io.kubernetes.container.logpath": "/etc/cron.d/x",
      "containerd.io/restart.status": "running",
      "containerd.io/restart.loguri": "binary:///bin/sh?-c=touch",
      "org.systemd.property.ExecStopPost": "/bin/sh -c touch",
      "time.berth.dev/monotonic-offset-seconds": "86400",
      "cdi.k8s.io/x": "vendor.com/class=all",
    };
    const made = await (await container({ name: "labels", config: { Labels } })).start();
    const status = await made.status();
    expect([status.labels, status.annotations]).toEqual([{}, {}]);
    expect(await made.sh("readlink /proc/self/ns/time || echo none")).toBe(
      await made.sh("readlink /proc/1/ns/time_for_children || echo none"),
    );
    expect(Number((await made.sh("cut -d. -f1 /proc/uptime")).trim())).toBeLessThan(
      Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) + 3600,
    );
  });

  it("gets no line into a file by HOME (CVE-2022-4318, CVE-2026-15809)", async () => {
    for (const [index, Env] of [["HOME=/root\nevil::0:0::/:/bin/sh"], ["HOME=/root\revil"]].entries()) {
      await expect(container({ name: `home-${index}`, config: { Env } })).rejects.toThrow(/HOME/);
    }
    const passwd = "root:x:0:0:root:/ro\rot:/bin/sh\n";
    const entries = [{ name: "etc/passwd", data: passwd }];
    await expect(container({ name: "home-passwd", entries })).rejects.toThrow(/home|HOME/);
  });
});
