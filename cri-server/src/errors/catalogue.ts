/** gRPC status numbers (grpc/status.md); kept here so that no layer but the edge needs the gRPC package. */
const status = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

/** Every error that a client can see. ERRORS.md lists the same codes, and a test compares the two. */
export const catalogue = {
  cancelled: { grpc: status.cancelled, meaning: "The client cancelled the call." },
  "deadline-exceeded": {
    grpc: status.deadlineExceeded,
    meaning: "The client's deadline, or ExecSync's timeout, has passed.",
  },
  "invalid-argument": {
    grpc: status.invalidArgument,
    meaning: "A field has a value that can't be meant; the message names both.",
  },
  "sandbox-not-found": { grpc: status.notFound, meaning: "No pod sandbox has this id." },
  "container-not-found": { grpc: status.notFound, meaning: "No container has this id." },
  "image-not-found": { grpc: status.notFound, meaning: "No image in the store has this name or id." },
  "already-exists": {
    grpc: status.alreadyExists,
    meaning: "A sandbox or container with the same identity lives.",
  },
  "wrong-state": {
    grpc: status.failedPrecondition,
    meaning: "The object is not in the state that the call needs.",
  },
  "network-not-ready": { grpc: status.unavailable, meaning: "No usable CNI configuration is loaded." },
  "network-failed": { grpc: status.internal, meaning: "A CNI plugin reported an error." },
  "launch-failed": {
    grpc: status.internal,
    meaning: "The kernel refused a step of making a process; the message names step and errno.",
  },
  "start-failed": { grpc: status.internal, meaning: "The container's command could not be executed." },
  "exec-failed": { grpc: status.internal, meaning: "The command of an exec could not be executed." },
  "monitor-lost": { grpc: status.internal, meaning: "The pod's monitor is gone; its processes were killed." },
  "registry-unavailable": {
    grpc: status.unknown,
    meaning: "The registry can't be reached; the message starts with RegistryUnavailable.",
  },
  "signature-invalid": {
    grpc: status.unknown,
    meaning: "The image's signature was refused; the message starts with SignatureValidationFailed.",
  },
  "pull-failed": { grpc: status.unknown, meaning: "The registry or the image is at fault." },
  "image-volume-failed": {
    grpc: status.internal,
    meaning: "An image volume can't be mounted; the message starts with ImageVolumeMountFailed.",
  },
  "resource-exhausted": {
    grpc: status.resourceExhausted,
    meaning: "Disk, memory, addresses or a limit of ours is used up.",
  },
  unimplemented: { grpc: status.unimplemented, meaning: "This RPC or option is not offered." },
  unavailable: { grpc: status.unavailable, meaning: "The server is starting or stopping." },
  internal: { grpc: status.internal, meaning: "A fault of ours or of the machine; the log has the cause." },
} as const satisfies Record<string, { readonly grpc: number; readonly meaning: string }>;

export type ErrorCode = keyof typeof catalogue;
