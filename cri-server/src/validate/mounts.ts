import type { Mount } from "../../../proto/gen/api.ts";
import { MountPropagation } from "../../../proto/gen/api.ts";
import { BerthError } from "../errors/berth-error.ts";
import type { MountRequest, Propagation } from "../model/container.ts";
import { absolutePath, climbs, complain, hasControl, invalid } from "./check.ts";
import { toIdMapping } from "./namespaces.ts";

/** What CRI allows in mount_options. */
const knownOptions: ReadonlySet<string> = new Set(["noexec", "nosuid", "nodev"]);

type MountCheck = (mount: Mount, field: string) => string | undefined;

const checks: readonly MountCheck[] = [
  ({ containerPath }, field) => absolutePath(`${field}.container_path`, containerPath),
  ({ containerPath }, field) =>
    /^[/.]*$/.test(containerPath) && !/\.\.\./.test(containerPath)
      ? complain(`${field}.container_path`, containerPath, "the root itself can't be a mount point")
      : undefined,
  (mount, field) =>
    imageOf(mount) !== "" && mount.hostPath !== ""
      ? complain(`${field}.host_path`, mount.hostPath, "an image is given too; only one can be the source")
      : undefined,
  (mount, field) =>
    imageOf(mount) === "" && mount.hostPath === ""
      ? complain(`${field}.host_path`, "", `nothing to mount at ${JSON.stringify(mount.containerPath)}`)
      : undefined,
  ({ hostPath }, field) => (hostPath === "" ? undefined : absolutePath(`${field}.host_path`, hostPath)),
  (mount, field) =>
    imageOf(mount) !== "" && !mount.readonly
      ? complain(`${field}.readonly`, false, "an image can only be mounted read-only")
      : undefined,
  (mount, field) =>
    imageOf(mount) !== "" && mount.propagation !== MountPropagation.PROPAGATION_PRIVATE
      ? complain(`${field}.propagation`, mount.propagation, "an image mount is always private")
      : undefined,
  (mount, field) =>
    imageOf(mount) === "" && mount.imageSubPath !== ""
      ? complain(`${field}.image_sub_path`, mount.imageSubPath, "no image is given")
      : undefined,
  ({ imageSubPath: path }, field) =>
    path.startsWith("/") || climbs(path) || hasControl(path)
      ? complain(`${field}.image_sub_path`, path, "not a relative path without `..`")
      : undefined,
  (mount, field) =>
    mount.recursiveReadOnly && !mount.readonly
      ? complain(`${field}.recursive_read_only`, true, "readonly has to be set with it")
      : undefined,
  (mount, field) =>
    mount.recursiveReadOnly && mount.propagation !== MountPropagation.PROPAGATION_PRIVATE
      ? complain(`${field}.recursive_read_only`, true, "propagation has to be PROPAGATION_PRIVATE with it")
      : undefined,
  ({ mountOptions }, field) => {
    const bad = mountOptions.find((option) => !knownOptions.has(option));
    return bad === undefined
      ? undefined
      : complain(`${field}.mount_options`, bad, `not one of ${[...knownOptions].join(", ")}`);
  },
  ({ uidMappings, gidMappings }, field) =>
    (uidMappings.length === 0) !== (gidMappings.length === 0)
      ? complain(`${field}.uidMappings`, uidMappings, "uidMappings and gidMappings go together")
      : undefined,
];

/** ContainerConfig.mounts, each checked, in the client's order. */
export function toMounts(messages: readonly Mount[]): readonly MountRequest[] {
  return messages.map((message, index) => toMount(message, `mounts[${index}]`));
}

function toMount(message: Mount, field: string): MountRequest {
  for (const check of checks) {
    const complaint = check(message, field);
    if (complaint !== undefined) {
      throw new BerthError("invalid-argument", complaint);
    }
  }
  return {
    containerPath: message.containerPath,
    hostPath: message.hostPath,
    readonly: message.readonly,
    recursiveReadOnly: message.recursiveReadOnly,
    propagation: propagationOf(message.propagation, field),
    selinuxRelabel: message.selinuxRelabel,
    uidMappings: message.uidMappings.map((mapping) => toIdMapping(`${field}.uidMappings`, mapping)),
    gidMappings: message.gidMappings.map((mapping) => toIdMapping(`${field}.gidMappings`, mapping)),
    image: imageOf(message),
    imageSubPath: message.imageSubPath,
    options: [...message.mountOptions],
  };
}

function imageOf(message: Mount): string {
  return message.image?.image ?? "";
}

function propagationOf(propagation: number, field: string): Propagation {
  switch (propagation) {
    case MountPropagation.PROPAGATION_PRIVATE:
      return "private";
    case MountPropagation.PROPAGATION_HOST_TO_CONTAINER:
      return "rslave";
    case MountPropagation.PROPAGATION_BIDIRECTIONAL:
      return "rshared";
    default:
      throw invalid(`${field}.propagation`, propagation, "not a propagation");
  }
}
