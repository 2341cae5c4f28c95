import type { DeviceRule } from "../../ports/cgroups.ts";
import { deviceProgram } from "./device-program.ts";
import { addressOf, bpf } from "./libc.ts";

/** Loading costs 0.4 ms, and nearly every container has the same rules: a loaded program is kept and attached many times. */
export class DevicePrograms {
  readonly #loaded = new Map<string, number>();

  /** An fd of the program, owned by this cache; undefined when every device is allowed. */
  get(rules: readonly DeviceRule[]): number | undefined {
    const last = rules.at(-1);
    if (last?.type === "a" && last.allow && last.major === undefined && last.minor === undefined)
      return undefined;
    const program = deviceProgram(rules);
    const key = program.toString("latin1");
    const known = this.#loaded.get(key);
    if (known !== undefined) return known;
    const fd = loadProgram(program);
    this.#loaded.set(key, fd);
    return fd;
  }
}

const progLoad = 5;
const typeCgroupDevice = 15;

/** BPF_PROG_LOAD; the kernel makes the fd close-on-exec. RLIMIT_MEMLOCK plays no part since 5.11, so it isn't touched. */
function loadProgram(program: Buffer): number {
  const license = Buffer.from("Apache-2.0\0");
  // union bpf_attr up to prog_flags (linux/bpf.h).
  const attributes = Buffer.alloc(48);
  attributes.writeUInt32LE(typeCgroupDevice, 0);
  attributes.writeUInt32LE(program.length / 8, 4);
  attributes.writeBigUInt64LE(addressOf(program), 8);
  attributes.writeBigUInt64LE(addressOf(license), 16);
  return bpf(progLoad, attributes, `device program of ${program.length / 8} instructions`);
}
