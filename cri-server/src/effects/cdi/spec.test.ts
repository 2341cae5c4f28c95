import { describe, expect, it } from "vitest";
import { parseSpec } from "./spec.ts";

const yaml = `
cdiVersion: 0.8.0
kind: vendor.com/gpu
annotations: {some: thing}
containerEdits:
  env: [ALL=1]
devices:
  - name: "0"
    containerEdits:
      deviceNodes:
        - path: /dev/gpu0
        - {path: /dev/gpu/1, hostPath: /dev/other, type: u, major: 10, minor: 3, fileMode: 0660, permissions: r, uid: 1, gid: 0}
        - {path: /dev/none, permissions: none}
      mounts:
        - {hostPath: /lib/x, containerPath: /lib/./x, options: [ro, nosuid]}
      additionalGids: [0, 44]
      hooks:
        - {hookName: createContainer, path: /usr/bin/tool, args: [tool, hook], env: [A=b], timeout: 7}
        - {hookName: poststop, path: /usr/bin/tool}
      intelRdt: {closID: one}
      netDevices: [{hostInterfaceName: eth7, name: net0}]
`;

const json = (edits: object, more: object = {}) =>
  parseSpec(
    "/s.json",
    JSON.stringify({
      cdiVersion: "1.0.0",
      kind: "vendor.com/gpu",
      devices: [{ name: "0", containerEdits: edits }],
      ...more,
    }),
  );

describe("parseSpec", () => {
  it("reads every edit", async () => {
    const spec = await parseSpec("/s.yaml", yaml);
    expect(spec.edits.env).toEqual(["ALL=1"]);
    const edits = spec.devices.get("0");
    const unset = { type: undefined, mode: undefined, uid: undefined, gid: undefined, major: 0, minor: 0 };
    expect(edits?.deviceNodes).toEqual([
      { ...unset, path: "/dev/gpu0", hostPath: "/dev/gpu0", access: "rwm" },
      {
        path: "/dev/gpu/1",
        hostPath: "/dev/other",
        type: "c",
        major: 10,
        minor: 3,
        mode: 0o660,
        access: "r",
        uid: 1,
        gid: 0,
      },
      { ...unset, path: "/dev/none", hostPath: "/dev/none", access: "" },
    ]);
    expect(edits?.mounts).toEqual([
      { hostPath: "/lib/x", containerPath: "/lib/x", type: "", options: ["ro", "nosuid"] },
    ]);
    expect(edits?.additionalGids).toEqual([44]);
    expect(edits?.hooks).toMatchObject([
      { path: "/usr/bin/tool", args: ["tool", "hook"], env: ["A=b"], timeoutSeconds: 7 },
    ]);
    expect(edits?.refused).toEqual(["hook poststop /usr/bin/tool", "intelRdt", "network device eth7"]);
  });

  it.each([
    [{ env: ["=1"] }, 'devices[0].containerEdits.env[0]: "=1" is not KEY=value'],
    [{ deviceNodes: [{ path: "x" }] }, 'deviceNodes[0].path: "x" is not an absolute path'],
    [{ deviceNodes: [{ path: "/x", type: "d" }] }, "is not one of b, c, u, p"],
    [{ deviceNodes: [{ path: "/x", minor: -1 }] }, "minor: -1 is not a whole number"],
    [{ deviceNodes: [{ path: "/x", permissions: "rx" }] }, "is not made of r, w and m"],
    [{ mounts: [{ containerPath: "/x" }] }, "mounts[0].hostPath: is not a text"],
    [{ later: [] }, 'containerEdits: unknown field "later"'],
  ])("refuses %j", async (edits, message) => {
    await expect(json(edits)).rejects.toThrow(message);
  });

  it.each([
    [{ cdiVersion: "2.0.0" }, "is not 0.x or 1.x"],
    [{ kind: "gpu" }, "is not vendor/class"],
    [{ devices: [] }, "devices: there are none"],
    [{ devices: [{ name: "a" }, { name: "a" }] }, "is there twice"],
  ])("refuses a file with %j", async (more, message) => {
    await expect(json({}, more)).rejects.toThrow(message);
  });
});
