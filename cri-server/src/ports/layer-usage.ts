/** What a container has written. */
export interface LayerUsage {
  /** When it was counted, nanoseconds since the epoch. */
  readonly timestamp: bigint;
  readonly usedBytes: bigint;
  readonly usedInodes: bigint;
  /** The directory's own path, on whose file system the bytes are. */
  readonly mountpoint: string;
}

/** Sizes of writable layers. Counting a tree takes time, so the figures may be some seconds old. */
export interface LayerUsageSource {
  usage(layerDir: string): Promise<LayerUsage>;
  /** Forgets a layer that is gone. */
  forget(layerDir: string): void;
}
