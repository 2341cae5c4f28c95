import { BerthError } from "../../../errors/berth-error.ts";

/** asm-generic/signal.h, which x86-64 and arm64 share. */
const numbers: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  TRAP: 5,
  ABRT: 6,
  IOT: 6,
  BUS: 7,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
  STKFLT: 16,
  CHLD: 17,
  CLD: 17,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  TTIN: 21,
  TTOU: 22,
  URG: 23,
  XCPU: 24,
  XFSZ: 25,
  VTALRM: 26,
  PROF: 27,
  WINCH: 28,
  IO: 29,
  POLL: 29,
  PWR: 30,
  SYS: 31,
};

/** glibc and musl keep the first two or three for themselves; 34 is what both call SIGRTMIN. */
const realTimeMin = 34;
const realTimeMax = 64;

/** An image's StopSignal (`15`, `SIGQUIT`, `quit`, `SIGRTMIN+3`) as a Linux number; undefined for "". */
export function parseSignal(text: string, field: string): number | undefined {
  if (text === "") return undefined;
  const number = signalNumber(text.toUpperCase().replace(/^SIG/, ""));
  if (number !== undefined && number >= 1 && number <= realTimeMax) return number;
  throw new BerthError("invalid-argument", `${field}: ${JSON.stringify(text)} is not a signal`);
}

function signalNumber(name: string): number | undefined {
  if (/^[0-9]{1,2}$/.test(name)) return Number(name);
  const realTime = /^RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?$/.exec(name);
  if (!realTime) return Object.hasOwn(numbers, name) ? numbers[name] : undefined;
  const [, base, sign, offset = "0"] = realTime;
  const value =
    (base === "MIN" ? realTimeMin : realTimeMax) + (sign === "-" ? -Number(offset) : Number(offset));
  return value >= realTimeMin && value <= realTimeMax ? value : undefined;
}

/** What StopContainer sends first: the container's own, the image's, SIGTERM. */
export function resolveStopSignal(requested: number | undefined, imageSignal: string): number {
  return requested ?? parseSignal(imageSignal, "image config.StopSignal") ?? 15;
}
