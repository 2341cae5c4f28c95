/** Something in which records, kernel and store do not agree. */
export interface Finding {
  /**
   * `missing`: a record needs it. `orphan`: no record knows it. `differs`: it is not as the record says. `lost`: a pod or container
   * can't go on. `stuck`: something does not get done.
   */
  readonly kind: "missing" | "orphan" | "differs" | "lost" | "stuck";
  /** `pod NAMESPACE/NAME (ID)`, `container …`, or a path. */
  readonly subject: string;
  readonly what: string;
  /** What to do about it; with a repair, what that does. */
  readonly remedy: string;
}

/** What became of a finding. */
export interface FindingOutcome extends Finding {
  /** `repairable`: --repair would do it. `manual`: it can't. */
  readonly outcome: "repairable" | "manual" | "repaired" | "failed";
  /** Why it could not be repaired. */
  readonly failure?: string;
}
