/**
 * How many times as long as usual one waits on this kernel, as hack/cluster does: a second one (hack/vm) has one processor at most, and
 * the emulated one is ten times slower.
 */
export const patience = process.env.BERTH_VM_JOB === undefined ? 1 : 3;
