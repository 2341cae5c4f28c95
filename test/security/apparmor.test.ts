import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defaultApparmorProfile } from "../../cri-server/src/domain/container/plan/apparmor-profile.ts";
import {
  type ContainerConfig,
  type DeepPartial,
  SecurityProfile_ProfileType as Profile,
} from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { pull, TestPod } from "../lib/pod.ts";

const enabled = "/sys/module/apparmor/parameters/enabled";
const hasAppArmor = existsSync(enabled) && readFileSync(enabled, "latin1").startsWith("Y");

describe.runIf(hasAppArmor)("the default AppArmor profile", () => {
  let server: Berthd;
  let pod: TestPod;

  beforeAll(async () => {
    server = await Berthd.start();
    await pull(server);
    pod = await TestPod.run(server, { linux: { securityContext: { privileged: true } } });
  });

  afterAll(() => server[Symbol.asyncDispose]());

  const start = (securityContext: NonNullable<DeepPartial<ContainerConfig>["linux"]>["securityContext"]) =>
    pod.start({ linux: { ...(securityContext === undefined ? {} : { securityContext }) } });
  const current = "cat /proc/self/attr/current";

  it("confines containers without a wish, their execs too, and those that ask for it", async () => {
    for (const security of [{}, { apparmor: { profileType: Profile.RuntimeDefault } }]) {
      const container = await start(security);
      expect(await container.sh(current)).toBe(`${defaultApparmorProfile} (enforce)`);
      expect(await container.sh("cat /proc/1/attr/current")).toBe(`${defaultApparmorProfile} (enforce)`);
    }
  });

  it("does not confine those that are unconfined or privileged", async () => {
    expect(await (await start({ apparmor: { profileType: Profile.Unconfined } })).sh(current)).toBe(
      "unconfined",
    );
    expect(await (await start({ privileged: true })).sh(current)).toBe("unconfined");
  });

  it("lets programs do what programs do", async () => {
    const container = await start({});
    await container.sh(
      "echo hi > /file && chmod 600 /file && mv /file /tmp/file && cat /tmp/file && ln -s /tmp /link",
    );
    await container.sh(
      "sleep 30 & kill $! && wait $! || true; mknod /tmp/null c 1 3; cat /proc/self/status > /dev/null",
    );
    await container.sh("ping -c 1 127.0.0.1");
    await container.stop(2);
  });

  it("is a wall of its own where all others are lifted", async () => {
    const lifted = { capabilities: { addCapabilities: ["ALL"] }, maskedPaths: [], readonlyPaths: [] };
    const open = await start({ ...lifted, apparmor: { profileType: Profile.Unconfined } });
    const confined = await start(lifted);
    const attempts = [
      "mount -t tmpfs none /tmp",
      "echo 1 > /proc/sys/kernel/panic_on_oops",
      "head -c 1 /proc/kcore",
      "ls /sys/firmware/memmap",
    ];
    for (const attempt of attempts) {
      expect((await confined.exec("/bin/sh", "-c", attempt)).exitCode, attempt).not.toBe(0);
    }
    // The first of them shows that it is the profile which refuses.
    await open.sh(attempts[0] ?? "");
  });
});
