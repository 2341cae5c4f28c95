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

export const PlanFlag = {
  STDIN: 1,
  STDIN_ONCE: 2,
  TTY: 4,
  CGROUP_V2: 8,
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
  PLAN_VERSION: 1,
} as const;
