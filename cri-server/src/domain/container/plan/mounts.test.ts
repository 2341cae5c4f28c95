import { describe, expect, it } from "vitest";
import type { MountRequest } from "../../../model/container.ts";
import type { Image, ImageLease } from "../../../model/image.ts";
import type { MountContext } from "./mounts.ts";
import { byDepth, mountOp, mountTarget, rootPropagation } from "./mounts.ts";

const request = (fields: Partial<MountRequest> = {}): MountRequest => ({
  containerPath: "/data",
  hostPath: "/srv/data",
  readonly: false,
  recursiveReadOnly: false,
  propagation: "private",
  selinuxRelabel: false,
  uidMappings: [],
  gidMappings: [],
  image: "",
  imageSubPath: "",
  options: [],
  ...fields,
});

const mapping = [{ containerId: 0, hostId: 100_000, length: 65_536 }];
const lease: ImageLease = {
  image: {} as Image,
  layerDirs: ["/layers/low", "/layers/high"],
  passwd: Buffer.alloc(0),
  group: Buffer.alloc(0),
};
const context = (fields: Partial<MountContext> = {}): MountContext => ({
  volumes: new Map([["sha256:vol", lease]]),
  userns: undefined,
  host: { recursiveReadOnlyMounts: true, idmappedMounts: true },
  ...fields,
});

describe("mountOp", () => {
  it("binds a host path with what lies below it", () => {
    expect(mountOp(request(), context())).toEqual({
      op: "bind",
      source: "/srv/data",
      target: "/data",
      recursive: true,
      attributes: {},
      recursiveReadOnly: false,
      propagation: "private",
      requireShared: false,
      requireSlave: false,
      idmap: false,
      create: true,
    });
  });

  it("carries read-only, options and propagation", () => {
    const op = mountOp(
      request({ readonly: true, options: ["noexec", "nosuid", "nodev"], propagation: "rslave" }),
      context(),
    );
    expect(op.attributes).toEqual({ readonly: true, noexec: true, nosuid: true, nodev: true });
    expect(op).toMatchObject({ propagation: "rslave", requireSlave: true, requireShared: false });
    expect(mountOp(request({ propagation: "rshared" }), context())).toMatchObject({ requireShared: true });
  });

  it("mounts an image's content read-only, highest layer first", () => {
    const op = mountOp(request({ image: "sha256:vol", hostPath: "", imageSubPath: "a/b" }), context());
    expect(op).toMatchObject({
      source: "a/b",
      layers: ["/layers/high", "/layers/low"],
      attributes: { readonly: true },
    });
  });

  it("idmaps with the pod's own mapping only", () => {
    const mapped = request({ uidMappings: mapping, gidMappings: mapping });
    const userns = { uidMappings: mapping, gidMappings: mapping };
    expect(mountOp(mapped, context({ userns })).idmap).toBe(true);
    expect(() => mountOp(mapped, context())).toThrow("no user namespace");
    const other = { uidMappings: [{ containerId: 0, hostId: 7, length: 1 }], gidMappings: mapping };
    expect(() => mountOp(mapped, context({ userns: other }))).toThrow("other id mappings");
    const host = { recursiveReadOnlyMounts: true, idmappedMounts: false };
    expect(() => mountOp(mapped, context({ userns, host }))).toThrow("no idmapped mounts");
  });

  it.each<[string, Partial<MountRequest>]>([
    ["is not readonly", { recursiveReadOnly: true }],
    ["propagation rslave", { recursiveReadOnly: true, readonly: true, propagation: "rslave" }],
    ["propagation rshared", { recursiveReadOnly: true, readonly: true, propagation: "rshared" }],
    ["container_path", { containerPath: "" }],
    ["is the root", { containerPath: "/../" }],
    ["is not absolute", { hostPath: "relative" }],
    ["is not absolute", { hostPath: "" }],
    ["ImageVolumeMountFailed", { image: "sha256:none", hostPath: "" }],
    ["ImageVolumeMountFailed", { image: "sha256:vol", hostPath: "", imageSubPath: "../x" }],
    ["ImageVolumeMountFailed", { image: "sha256:vol", hostPath: "", imageSubPath: "/x" }],
    ["has a host_path too", { image: "sha256:vol" }],
    ["mount_options", { options: ["suid"] }],
  ])("says %j when it refuses one", (message, fields) => {
    expect(() => mountOp(request(fields), context())).toThrow(message);
  });

  it("refuses recursive read-only where the kernel can't", () => {
    const host = { recursiveReadOnlyMounts: false, idmappedMounts: true };
    const wanted = request({ recursiveReadOnly: true, readonly: true });
    expect(() => mountOp(wanted, context({ host }))).toThrow("5.12");
    expect(mountOp(wanted, context()).recursiveReadOnly).toBe(true);
  });
});

describe("mountTarget", () => {
  it.each([
    ["/a/b/", "/a/b"],
    ["a/b", "/a/b"],
    ["/a/../b", "/b"],
    ["/../../etc", "/etc"],
  ])("%j is %j", (containerPath, expected) => {
    expect(mountTarget({ containerPath })).toBe(expected);
  });
});

it("orders mounts by depth and otherwise leaves them as they came", () => {
  const targets = ["/a/b/c", "/z", "/a/b", "/a"].map((target) => ({ target }));
  expect(byDepth(targets).map(({ target }) => target)).toEqual(["/z", "/a", "/a/b", "/a/b/c"]);
});

it("gives the root the strongest propagation asked for", () => {
  expect(rootPropagation([])).toBe("private");
  expect(rootPropagation([{ propagation: "rslave" }, { propagation: "private" }])).toBe("rslave");
  expect(rootPropagation([{ propagation: "rslave" }, { propagation: "rshared" }])).toBe("rshared");
});
