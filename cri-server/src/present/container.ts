import type {
  Container as ContainerMessage,
  ImageSpec,
  Mount,
  ContainerStatus as StatusMessage,
} from "../../../proto/gen/api.ts";
import { ContainerState, MountPropagation } from "../../../proto/gen/api.ts";
import type { Container, ContainerStatus, MountRequest, Propagation } from "../model/container.ts";
import { presentIdMapping } from "./namespaces.ts";
import { presentResources } from "./resources.ts";
import { fromLinuxSignal } from "./signals.ts";

/** A row of ListContainers. */
export function presentContainer(container: Container): ContainerMessage {
  const { config } = container;
  return {
    id: container.id,
    podSandboxId: container.sandboxId,
    metadata: { ...config.metadata },
    image: imageSpec(config.image, config.userSpecifiedImage),
    imageRef: container.imageRef,
    state: stateOf(container.status),
    createdAt: container.createdAt,
    labels: config.labels,
    annotations: config.annotations,
    imageId: container.imageId,
  };
}

export function presentContainerStatus(container: Container): StatusMessage {
  const { config, user } = container;
  return {
    id: container.id,
    metadata: { ...config.metadata },
    state: stateOf(container.status),
    createdAt: container.createdAt,
    ...timesOf(container.status),
    image: imageSpec(container.imageName, config.userSpecifiedImage),
    imageRef: container.imageRef,
    labels: config.labels,
    annotations: config.annotations,
    mounts: container.mounts.map(presentMount),
    logPath: container.logPath,
    resources: { linux: presentResources(container.resources), windows: undefined },
    imageId: container.imageId,
    user: {
      linux: {
        uid: BigInt(user.uid),
        gid: BigInt(user.gid),
        supplementalGroups: user.groups.map((group) => BigInt(group)),
      },
    },
    stopSignal: fromLinuxSignal(container.stopSignal),
  };
}

function stateOf(status: ContainerStatus): ContainerState {
  switch (status.phase) {
    case "created":
      return ContainerState.CONTAINER_CREATED;
    case "running":
      return ContainerState.CONTAINER_RUNNING;
    case "exited":
      return ContainerState.CONTAINER_EXITED;
    case "creating":
    case "removing":
    case "unknown":
      return ContainerState.CONTAINER_UNKNOWN;
  }
}

type Times = Pick<StatusMessage, "startedAt" | "finishedAt" | "exitCode" | "reason" | "message">;

const never: Times = { startedAt: 0n, finishedAt: 0n, exitCode: 0, reason: "", message: "" };

function timesOf(status: ContainerStatus): Times {
  switch (status.phase) {
    case "creating":
    case "created":
    case "removing":
      return never;
    case "running":
      return { ...never, startedAt: status.startedAt };
    case "exited": {
      const { startedAt, finishedAt, exitCode, reason, message } = status;
      return { startedAt, finishedAt, exitCode, reason, message };
    }
    case "unknown":
      return { ...never, reason: "Unknown", message: status.message };
  }
}

function imageSpec(image: string, userSpecifiedImage: string): ImageSpec {
  return { image, annotations: {}, userSpecifiedImage, runtimeHandler: "", imageRef: "" };
}

/** Each requested mount: the kubelet looks for its termination log and its image volumes there. */
function presentMount(mount: MountRequest): Mount {
  return {
    containerPath: mount.containerPath,
    hostPath: mount.hostPath,
    readonly: mount.readonly,
    selinuxRelabel: mount.selinuxRelabel,
    propagation: propagationOf(mount.propagation),
    uidMappings: mount.uidMappings.map(presentIdMapping),
    gidMappings: mount.gidMappings.map(presentIdMapping),
    recursiveReadOnly: mount.recursiveReadOnly,
    image: mount.image === "" ? undefined : { ...imageSpec(mount.image, ""), imageRef: mount.imageRef ?? "" },
    imageSubPath: mount.imageSubPath,
    mountOptions: [...mount.options],
  };
}

function propagationOf(propagation: Propagation): MountPropagation {
  switch (propagation) {
    case "private":
      return MountPropagation.PROPAGATION_PRIVATE;
    case "rslave":
      return MountPropagation.PROPAGATION_HOST_TO_CONTAINER;
    case "rshared":
      return MountPropagation.PROPAGATION_BIDIRECTIONAL;
  }
}
