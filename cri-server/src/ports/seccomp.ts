/** One comparison of a 64-bit system call argument. */
export interface ArgumentTest {
  readonly index: number;
  readonly op: "NE" | "LT" | "LE" | "EQ" | "GE" | "GT" | "MASKED_EQ";
  readonly value: bigint;
  /** Second operand, of MASKED_EQ: value is then the mask. */
  readonly valueTwo: bigint;
}

export type SeccompAction =
  | { readonly kind: "allow" | "log" | "kill-thread" | "kill-process" | "trap" | "notify" }
  | { readonly kind: "errno" | "trace"; readonly value: number };

export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: SeccompAction;
  /** All have to hold. */
  readonly args: readonly ArgumentTest[];
}

/** A profile for one container: nothing in it depends on capabilities, architecture or kernel any more. */
export interface SeccompProgram {
  readonly defaultAction: SeccompAction;
  /** Architectures beside the machine's own whose system calls are filtered by the same rules. */
  readonly subArchitectures: readonly ("x86" | "x32" | "arm")[];
  readonly rules: readonly SeccompRule[];
}

export interface CompiledFilter {
  /** Names the filter for load(), also after a restart. */
  readonly key: string;
  /** struct sock_filter[]. */
  readonly bytes: Uint8Array;
}

/** Compiles filters once, and keeps them in memory and on disk. */
export interface SeccompFilters {
  compile(program: SeccompProgram): Promise<CompiledFilter>;
  /** Rejects `internal` when it is neither in memory nor on disk. */
  load(key: string): Promise<CompiledFilter>;
}
