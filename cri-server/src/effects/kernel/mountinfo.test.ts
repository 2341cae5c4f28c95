import { expect, it } from "vitest";
import { findCgroupLayout } from "./cgroup-layout.ts";
import { parseMountInfo } from "./mountinfo.ts";

const hybrid = `
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime master:1 propagate_from:2 - cgroup cgroup rw,memory
36 31 0:32 / /sys/fs/cgroup/again rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /mnt/elsewhere rw,relatime - cgroup cgroup rw,pids
50 23 0:40 /a\\040b /mnt/with\\040blank ro,nosuid - ext4 /dev/x\\134y rw
broken line
`;

it("reads each line, with propagation and octal escapes", () => {
  const mounts = parseMountInfo(hybrid);
  expect(mounts).toHaveLength(8);
  expect(mounts[2]).toMatchObject({
    device: "0:32",
    fsType: "cgroup",
    propagation: ["master:1", "propagate_from:2"],
  });
  expect(mounts[7]).toEqual({
    id: 50,
    parentId: 23,
    device: "0:40",
    root: "/a b",
    mountpoint: "/mnt/with blank",
    options: ["ro", "nosuid"],
    propagation: [],
    fsType: "ext4",
    source: "/dev/x\\y",
    superOptions: ["rw"],
  });
});

it("finds each v1 hierarchy once, and leaves the v2 beside them alone", () => {
  expect(findCgroupLayout(parseMountInfo(hybrid))).toEqual({
    version: 1,
    hierarchies: [
      { name: "cpu,cpuacct", mountpoint: "/sys/fs/cgroup/cpu,cpuacct", controllers: ["cpu", "cpuacct"] },
      { name: "memory", mountpoint: "/sys/fs/cgroup/memory", controllers: ["memory"] },
      { name: "systemd", mountpoint: "/sys/fs/cgroup/systemd", controllers: [] },
    ],
  });
});

it("takes v2 where it is mounted on top", () => {
  const text = `${hybrid}60 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n`;
  expect(findCgroupLayout(parseMountInfo(text))).toEqual({ version: 2, mountpoint: "/sys/fs/cgroup" });
});

it("says so when there is nothing", () => {
  expect(() => findCgroupLayout([])).toThrow("nothing is mounted");
});
