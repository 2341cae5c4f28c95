import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { apply, eventually, field, inPod, kubectl, onNode, running, useCluster } from "./cluster.ts";

useCluster("isolation");

// Together: most of their time is waiting.
describe.concurrent("isolation", () => {
  it("shares the namespaces that were asked for, and no others", async (test) => {
    await apply(test, "namespaces");
    for (const pod of ["hostns", "sharedpid", "userns", "hostport"]) await running(pod);
    expect(await inPod("hostns", "ls", "/proc/1/exe", "-l")).not.toContain("sleep");
    expect(await inPod("hostns", "ip", "addr")).toContain("10.66.0.2");
    expect(await kubectl("exec", "sharedpid", "-c", "peer", "--", "ps")).toContain("nginx: master");
    const [inside, outside, count] = (await inPod("userns", "cat", "/proc/self/uid_map")).trim().split(/\s+/);
    expect(inside).toBe("0");
    expect(Number(outside)).toBeGreaterThan(0);
    expect(Number(count)).toBe(65536);
    expect(await onNode("curl", "-sf", "--max-time", "5", "http://10.66.0.2:8088/")).toContain("nginx");
  });

  it("applies the security context, sub paths and image volumes", async (test) => {
    await apply(test, "security");
    await running("secured");
    await running("imagevolume");
    expect(await inPod("secured", "id")).toBe("uid=1234 gid=2345 groups=2345,3456,4567");
    await expect(inPod("secured", "touch", "/file")).rejects.toThrow(/Read-only/);
    expect(await inPod("secured", "sh", "-c", "touch /scratch/f && stat -c %g /scratch/f")).toBe("3456");
    expect(await inPod("secured", "cat", "/only/file")).toBe("deep");
    expect(await inPod("secured", "grep", "-E", "Seccomp:|NoNewPrivs:|CapEff:", "/proc/1/status")).toMatch(
      /CapEff:\s0+\nNoNewPrivs:\s1\nSeccomp:\s2/,
    );
    expect(await inPod("secured", "cat", "/proc/sys/net/ipv4/ip_local_port_range")).toMatch(/20000\s30000/);
    expect(await inPod("imagevolume", "ls", "/content/usr/sbin")).toContain("nginx");
    await eventually(
      "notroot is refused",
      30,
      async () =>
        (await field("pod", "notroot", ".status.containerStatuses[0].state.waiting.reason")) ===
        "CreateContainerConfigError",
    );
  });

  it("filters system calls by a profile of the node", async (test) => {
    await apply(test, "seccomp");
    await running("localhost-profile");
    await expect(inPod("localhost-profile", "mkdir", "/tmp/refused")).rejects.toThrow(/not permitted/);
    expect(await inPod("localhost-profile", "sh", "-c", "echo > /tmp/allowed && echo yes")).toBe("yes");
  });

  it("gives large pages where the node has some and can limit them", async (test) => {
    if (!existsSync("/sys/kernel/mm/hugepages")) return;
    expect(await field("node", "berth-node", ".status.capacity.hugepages-2Mi")).toBe("8Mi");
    await apply(test, "hugepages");
    if (!existsSync("/sys/fs/cgroup/hugetlb") && !existsSync("/sys/fs/cgroup/cgroup.controllers")) {
      await eventually("the pod is told what is missing", 30, async () =>
        (await field("pod", "hugepages", ".status.containerStatuses[0].state.waiting.message")).includes(
          "no hugetlb controller",
        ),
      );
      return;
    }
    await running("hugepages");
    expect(await inPod("hugepages", "grep", " /huge ", "/proc/mounts")).toMatch(/hugetlbfs .*pagesize=2M/);
    await inPod("hugepages", "fallocate", "-l", String(4 << 20), "/huge/allowed");
    await expect(inPod("hugepages", "fallocate", "-l", String(2 << 20), "/huge/refused")).rejects.toThrow(
      /space/,
    );
  });

  it("propagates mounts as each volume says", async (test) => {
    await apply(test, "propagation");
    await running("receiver");
    await running("sender");
    await inPod("sender", "sh", "-c", "mkdir -p /shared/inner && mount -t tmpfs inner /shared/inner");
    await inPod("sender", "touch", "/shared/inner/file");
    try {
      expect(await onNode("ls", "/mnt/propagation/inner")).toBe("file");
      expect(await kubectl("exec", "receiver", "-c", "follows", "--", "ls", "/shared/inner")).toBe("file");
      expect(await kubectl("exec", "receiver", "-c", "private", "--", "ls", "/shared/inner")).toBe("");
    } finally {
      await onNode("umount", "/mnt/propagation/inner");
      await onNode("rm", "-r", "/mnt/propagation");
    }
  });
});
