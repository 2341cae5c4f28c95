/** Time as a dependency, so that tests can hold it. */
export interface Clock {
  /** Nanoseconds since the epoch, strictly increasing within one process. */
  now(): bigint;
}
