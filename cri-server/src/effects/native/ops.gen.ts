// Made by hack/gen-ops.ts from native/ops.json.

export const Op = {
  SPAWN_MONITOR: 1,
  READ_IMAGE_FILES: 2,
  REMOVE_TREES: 3,
  RUN: 4,
  CANCEL: 5,
  CREATE: 16,
  START: 17,
  KILL: 18,
  EXEC_SYNC: 19,
  EXEC: 20,
  ATTACH: 21,
  RESIZE: 22,
  REOPEN_LOG: 23,
  LIST: 24,
  REMOVE: 25,
  SHUTDOWN: 26,
  STDIN: 32,
  STDOUT: 33,
  STDERR: 34,
  OK: 64,
  FAILED: 65,
  EXITED: 66,
  ENDED: 67,
} as const;

export const SpecFlag = {
  NEW_NET: 1,
  NEW_IPC: 2,
  NEW_UTS: 4,
  PID_INIT: 8,
  USERNS: 16,
} as const;

export const StreamFlag = {
  STDIN: 1,
  STDOUT: 2,
  STDERR: 4,
  TTY: 8,
} as const;

export const ContainerState = {
  CREATED: 1,
  RUNNING: 2,
  EXITED: 3,
} as const;

export const Limit = {
  FRAME: 8388608,
  FRAME_FDS: 4,
} as const;

export const RootOp = {
  FS: 1,
  BIND: 2,
  DEVICE: 3,
  SYMLINK: 4,
  MKDIR: 5,
  MASK: 6,
  READONLY: 7,
  HOOK: 8,
} as const;

export const BindFlag = {
  RECURSIVE: 1,
  RECURSIVE_READONLY: 2,
  REQUIRE_SHARED: 4,
  REQUIRE_SLAVE: 8,
  IDMAP: 16,
  CREATE: 32,
  LAYERS: 64,
  OVER_PROC: 128,
} as const;

export const Choice = {
  HOST: 0,
  POD: 1,
  NEW: 2,
  JOIN: 3,
} as const;

export const Propagation = {
  PRIVATE: 262144,
  RSLAVE: 524288,
  RSHARED: 1048576,
} as const;

export const MountAttribute = {
  READONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
} as const;

export const PlanMagic = {
  LAUNCH: 843862082,
  EXEC: 843403330,
} as const;
