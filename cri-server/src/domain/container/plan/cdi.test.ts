import { describe, expect, it } from "vitest";
import type { ContainerConfig } from "../../../model/container.ts";
import type { CdiEdits } from "../../../ports/cdi.ts";
import type { DeviceNode, HostFiles } from "../../../ports/host.ts";
import { injectCdi } from "./cdi.ts";
import { deviceOps, deviceRules } from "./devices.ts";

const vendor0: DeviceNode = {
  path: "/dev/real",
  type: "c",
  major: 10,
  minor: 7,
  mode: 0o600,
  uid: 0,
  gid: 0,
};

const files = {
  kindOf: async (path: string) =>
    path === "/dev/real" ? "other" : path.startsWith("/lib") ? "file" : undefined,
  devices: async () => [vendor0],
} as unknown as HostFiles;

const inject = (edits: Partial<CdiEdits>, inUserns = false) =>
  injectCdi(
    {
      cdi: {
        resolve: async () => [
          {
            source: "CDI device v.com/c=d (/s.json)",
            env: [],
            deviceNodes: [],
            mounts: [],
            additionalGids: [],
            hooks: [],
            refused: [],
            ...edits,
          },
        ],
      },
      files,
      host: { idmappedMounts: true, recursiveReadOnlyMounts: true },
    },
    {
      cdiDevices: ["v.com/c=d"],
      security: { namespaces: inUserns ? { userns: {} } : {} },
    } as unknown as ContainerConfig,
    { uid: 1000, gid: 0 },
  );

const node = {
  path: "/dev/vendor0",
  hostPath: "/dev/real",
  type: undefined,
  major: 0,
  minor: 0,
  mode: undefined,
  access: "rw",
  uid: undefined,
  gid: undefined,
};
const mount = { hostPath: "/lib/x", containerPath: "/lib/x", type: "", options: [] };

describe("injectCdi", () => {
  it("asks the host for what the spec leaves out, and gives the node to the container's user", async () => {
    const { devices } = await inject({ deviceNodes: [node] });
    expect(devices).toEqual([
      {
        target: "/dev/vendor0",
        node: { path: "/dev/real", type: "c", major: 10, minor: 7, mode: 0o666, uid: 1000, gid: 0 },
        access: "rw",
      },
    ]);
  });

  it("takes what the spec says, without a device on the host", async () => {
    const given = { ...node, hostPath: "/no", type: "b", major: 8, minor: 1, mode: 0o640, uid: 0 } as const;
    const { devices } = await inject({ deviceNodes: [given] });
    expect(devices[0]?.node).toEqual({
      path: "/no",
      type: "b",
      major: 8,
      minor: 1,
      mode: 0o640,
      uid: 0,
      gid: 0,
    });
  });

  it("makes pipes, which need no permission", async () => {
    const pipe = { ...node, path: "/dev/p", hostPath: "/no", type: "p" } as const;
    const { devices } = await inject({ deviceNodes: [pipe] });
    expect(deviceOps(devices, true)).toContainEqual(
      expect.objectContaining({ op: "device", type: "p", target: "/dev/p" }),
    );
    expect(deviceRules(devices, false)).toEqual(deviceRules([], false));
  });

  it("allows nothing with permissions none", async () => {
    const { devices } = await inject({ deviceNodes: [{ ...node, access: "" }] });
    expect(deviceRules(devices, false)).toEqual(deviceRules([], false));
  });

  it("turns mount options into attributes", async () => {
    const options = ["ro", "nosuid", "nodev", "rbind", "rslave"];
    const { mounts } = await inject({ mounts: [{ ...mount, options }] }, true);
    expect(mounts[0]?.ops).toEqual([
      expect.objectContaining({
        op: "bind",
        source: "/lib/x",
        target: "/lib/x",
        recursive: true,
        attributes: { readonly: true, nosuid: true, nodev: true },
        propagation: "rslave",
        idmap: true,
      }),
    ]);
  });

  it("makes tmpfs mounts", async () => {
    const tmpfs = { ...mount, type: "tmpfs", hostPath: "tmpfs", options: ["size=1m", "noexec"] };
    const { mounts } = await inject({ mounts: [tmpfs] });
    expect(mounts[0]?.ops).toEqual([
      {
        op: "fs",
        type: "tmpfs",
        target: "/lib/x",
        attributes: { noexec: true },
        options: [["size", "1m"]],
      },
    ]);
  });

  it.each([
    [{ refused: ["hook poststop /x"] }, "not offered: hook poststop /x"],
    [{ hooks: [{ path: "/x", args: [], env: [], timeoutSeconds: 1 }] }, '"/x" is not a program'],
    [{ mounts: [{ ...mount, type: "nfs" }] }, 'type "nfs" is not offered'],
    [{ mounts: [{ ...mount, options: ["noatime"] }] }, 'option "noatime" is not offered'],
    [{ mounts: [{ ...mount, hostPath: "/gone" }] }, '"/gone" (for /lib/x) does not exist'],
    [{ deviceNodes: [{ ...node, hostPath: "/gone" }] }, '"/gone" is not a device of this machine'],
    [{ deviceNodes: [{ ...node, type: "b" as const }] }, "is a c, not a b"],
  ])("refuses %j, naming the device", async (edits, message) => {
    await expect(inject(edits)).rejects.toThrow(message);
    await expect(inject(edits)).rejects.toThrow("v.com/c=d");
  });
});
