import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NamespacePlan, RootOp } from "../../cri-server/src/model/plan.ts";
import { defaultOps, type Fixture, hasTimeNamespaces, makeFixture, versions } from "./container-fixture.ts";

const cgroupfs: RootOp = {
  op: "fs",
  type: "cgroup2",
  target: "/sys/fs/cgroup",
  attributes: { nosuid: true, nodev: true, noexec: true, readonly: true },
  options: [],
};

/** Every way of putting a container together; what one of them needs must not break another. */
function combinations(): readonly NamespacePlan[] {
  const all: NamespacePlan[] = [];
  for (const user of ["host", "pod"] as const) {
    for (const network of ["host", "pod"] as const) {
      for (const pid of ["new", "pod", "host"] as const) {
        for (const time of [false, true]) {
          if (time && !hasTimeNamespaces) continue;
          all.push({
            user,
            network,
            pid,
            ipc: "pod",
            uts: "pod",
            cgroup: "new",
            ...(time ? { time: { monotonicSeconds: 1n, boottimeSeconds: 100_000_000n } } : {}),
          });
        }
      }
    }
  }
  return all;
}

const titled = combinations().map((namespaces) => ({
  namespaces,
  title: `user ${namespaces.user}, network ${namespaces.network}, pid ${String(namespaces.pid)}${namespaces.time ? ", time" : ""}`,
}));

describe.each(versions)("namespaces, on cgroup v%i", (version) => {
  let fixture: Fixture;
  beforeAll(async () => {
    fixture = await makeFixture(version);
  });
  afterAll(() => fixture.cleanUp());

  it.each(titled)("$title", async ({ namespaces }) => {
    // A user namespace can mount a proc of its own PID namespace alone, so the host's can't be shared by mounting.
    const ops: readonly RootOp[] =
      namespaces.user === "pod" && namespaces.pid === "host"
        ? defaultOps.filter(({ target }) => !target.startsWith("/proc"))
        : [...defaultOps, cgroupfs];
    const pod = [
      "net,ipc,uts",
      ...(namespaces.user === "pod" ? ["user"] : []),
      ...(namespaces.pid === "pod" ? ["pid"] : []),
    ];
    const plan = await fixture.plan("sleep 30", { namespaces, ops });
    const script = "id -u; ls /sys/class/net | grep -c lo; touch /x && cut -d. -f1 /proc/uptime";
    const events = await fixture.drive(
      ...["--pod", pod.join(","), "--create", plan, "--start"],
      ...["--exec", fixture.exec(plan, ["sh", "-c", script])],
      ...["--exec", fixture.exec(plan, ["tty"], { tty: true, uid: 12 })],
      ...["--signal", "9", "--wait"],
    );
    expect(events.map(({ event }) => event)).toEqual(["create-ready", "started", "exec", "exec", "exit"]);
    expect(events[2]?.out?.startsWith("0\n1\n")).toBe(true);
    if (namespaces.time && ops.length > defaultOps.length) {
      expect(Number(events[2]?.out?.split("\n")[2])).toBeGreaterThan(100_000_000);
    }
    expect(events[3]?.out).toBe("/dev/pts/0\r\n");
    expect(events[4]?.code).toBe(137);
  });

  it("show a cgroup v2 of its own, read-only", async () => {
    if (version === 1) return;
    const plan = await fixture.plan("cat /sys/fs/cgroup/cgroup.procs; echo 1 >/sys/fs/cgroup/cgroup.procs", {
      ops: [...defaultOps, cgroupfs],
    });
    const end = await fixture.result(plan);
    expect(end.out).toMatch(/^1\n/);
    expect(end.err).toContain("Read-only");
  });
});
