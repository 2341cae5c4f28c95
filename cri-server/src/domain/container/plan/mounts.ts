import { posix } from "node:path";
import { BerthError } from "../../../errors/berth-error.ts";
import type { MountRequest } from "../../../model/container.ts";
import type { ImageLease } from "../../../model/image.ts";
import type { UserNamespace } from "../../../model/namespaces.ts";
import type { MountAttributes, Propagation, RootOp } from "../../../model/plan.ts";
import type { HostFacts } from "../../../ports/host.ts";

export type BindOp = Extract<RootOp, { readonly op: "bind" }>;

export interface MountContext {
  readonly volumes: ReadonlyMap<string, ImageLease>;
  readonly userns: UserNamespace | undefined;
  readonly host: Pick<HostFacts, "recursiveReadOnlyMounts" | "idmappedMounts">;
}

/** One requested mount as an operation. */
export function mountOp(request: MountRequest, context: MountContext): BindOp {
  const target = mountTarget(request);
  checkRecursiveReadOnly(request, context.host);
  const attributes = mountAttributes(request);
  if (request.image !== "") return imageVolume(request, target, attributes, context);
  if (!request.hostPath.startsWith("/")) {
    throw new BerthError("invalid-argument", `mounts.host_path: ${quote(request.hostPath)} is not absolute`);
  }
  return {
    op: "bind",
    source: request.hostPath,
    target,
    recursive: true,
    attributes,
    recursiveReadOnly: request.recursiveReadOnly,
    propagation: request.propagation,
    requireShared: request.propagation === "rshared",
    requireSlave: request.propagation === "rslave",
    idmap: wantsIdmap(request, context),
    create: true,
  };
}

/** A bind of one of the pod's own files or folders. */
export function bindOp(
  source: string,
  target: string,
  attributes: MountAttributes,
  recursive = false,
): BindOp {
  return {
    op: "bind",
    source,
    target,
    recursive,
    attributes,
    recursiveReadOnly: false,
    propagation: "private",
    requireShared: false,
    requireSlave: false,
    idmap: false,
    create: true,
  };
}

/** The container path as the plan uses it: absolute, normal, and not the root itself. */
export function mountTarget(request: Pick<MountRequest, "containerPath">): string {
  const { containerPath } = request;
  if (containerPath === "" || containerPath.includes("\0")) {
    throw new BerthError("invalid-argument", `mounts.container_path: ${quote(containerPath)} is not a path`);
  }
  const target = posix.normalize(`/${containerPath}`).replace(/(.)\/+$/, "$1");
  if (target === "/") {
    throw new BerthError("invalid-argument", `mounts.container_path: ${quote(containerPath)} is the root`);
  }
  return target;
}

/** The strongest propagation among the mounts: the root needs it too, or events can't pass it. */
export function rootPropagation(mounts: readonly Pick<MountRequest, "propagation">[]): Propagation {
  if (mounts.some((mount) => mount.propagation === "rshared")) return "rshared";
  if (mounts.some((mount) => mount.propagation === "rslave")) return "rslave";
  return "private";
}

/** Parents before children; otherwise in the given order. */
export function byDepth<T extends { readonly target: string }>(ops: readonly T[]): readonly T[] {
  const depth = (target: string) => target.split("/").length;
  return ops.toSorted((a, b) => depth(a.target) - depth(b.target));
}

function checkRecursiveReadOnly(
  request: MountRequest,
  host: Pick<HostFacts, "recursiveReadOnlyMounts">,
): void {
  if (!request.recursiveReadOnly) return;
  const where = `mounts.recursive_read_only: ${request.containerPath}`;
  if (!request.readonly) throw new BerthError("invalid-argument", `${where} is not readonly`);
  if (request.propagation !== "private") {
    throw new BerthError("invalid-argument", `${where} has propagation ${request.propagation}`);
  }
  if (!host.recursiveReadOnlyMounts) {
    throw new BerthError("invalid-argument", `${where}: this kernel can't (mount_setattr needs Linux 5.12)`);
  }
}

function mountAttributes(request: MountRequest): MountAttributes {
  const attributes = {
    ...(request.readonly ? { readonly: true } : {}),
    ...(request.options.includes("nosuid") ? { nosuid: true } : {}),
    ...(request.options.includes("nodev") ? { nodev: true } : {}),
    ...(request.options.includes("noexec") ? { noexec: true } : {}),
  };
  const unknown = request.options.find((option) => !["nosuid", "nodev", "noexec"].includes(option));
  if (unknown === undefined) return attributes;
  throw new BerthError("invalid-argument", `mounts.mount_options: ${quote(unknown)} is not supported`);
}

function imageVolume(
  request: MountRequest,
  target: string,
  attributes: MountAttributes,
  context: MountContext,
): BindOp {
  if (request.hostPath !== "") {
    throw new BerthError("invalid-argument", `mounts.image: ${request.containerPath} has a host_path too`);
  }
  const lease = context.volumes.get(request.image);
  if (lease === undefined || lease.layerDirs.length === 0) {
    throw new BerthError(
      "image-volume-failed",
      `ImageVolumeMountFailed: mounts.image: ${quote(request.image)} has no content to mount`,
    );
  }
  const subPath = request.imageSubPath;
  if (subPath.startsWith("/") || subPath.split("/").includes("..")) {
    throw new BerthError(
      "image-volume-failed",
      `ImageVolumeMountFailed: mounts.image_sub_path: ${quote(subPath)} leaves the image`,
    );
  }
  return {
    ...bindOp(subPath, target, { ...attributes, readonly: true }),
    layers: lease.layerDirs.toReversed(),
  };
}

/** An idmapped mount has to use the pod's own mapping; anything else would need a second user namespace. */
function wantsIdmap(request: MountRequest, context: MountContext): boolean {
  const { uidMappings, gidMappings } = request;
  if (uidMappings.length === 0 && gidMappings.length === 0) return false;
  const where = `mounts.uidMappings: ${request.containerPath}`;
  if (context.userns === undefined) {
    throw new BerthError("invalid-argument", `${where} has id mappings, but the pod has no user namespace`);
  }
  const same =
    JSON.stringify(uidMappings) === JSON.stringify(context.userns.uidMappings) &&
    JSON.stringify(gidMappings) === JSON.stringify(context.userns.gidMappings);
  if (!same) throw new BerthError("invalid-argument", `${where} has other id mappings than its pod`);
  if (!context.host.idmappedMounts) {
    throw new BerthError("invalid-argument", `${where}: this kernel has no idmapped mounts`);
  }
  return true;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
