/** What a file system does about projects. */
export interface QuotaState {
  readonly accounts: boolean;
  /** Limits hold. */
  readonly enforces: boolean;
}

export interface ProjectUsage {
  readonly bytes: bigint;
  readonly inodes: bigint;
  /** 0: none. */
  readonly limitBytes: bigint;
}
