/** signal(7), x86-64 and arm64. */
const linuxNumbers: Readonly<Record<string, number>> = {
  SIGABRT: 6,
  SIGALRM: 14,
  SIGBUS: 7,
  SIGCHLD: 17,
  SIGCLD: 17,
  SIGCONT: 18,
  SIGFPE: 8,
  SIGHUP: 1,
  SIGILL: 4,
  SIGINT: 2,
  SIGIO: 29,
  SIGIOT: 6,
  SIGKILL: 9,
  SIGPIPE: 13,
  SIGPOLL: 29,
  SIGPROF: 27,
  SIGPWR: 30,
  SIGQUIT: 3,
  SIGSEGV: 11,
  SIGSTKFLT: 16,
  SIGSTOP: 19,
  SIGSYS: 31,
  SIGTERM: 15,
  SIGTRAP: 5,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGVTALRM: 26,
  SIGWINCH: 28,
  SIGXCPU: 24,
  SIGXFSZ: 25,
};

/** SIGRTMIN and SIGRTMAX as the C libraries have them. */
const realtimeMin = 34;
const realtimeMax = 64;

/** The number of SIGTERM, SIGRTMINPLUS3 and the like; undefined when there is no such signal. */
export function signalNumber(name: string): number | undefined {
  const match = /^SIGRTM(IN|AX)(?:(PLUS|MINUS)(\d+))?$/.exec(name);
  if (match === null) {
    return linuxNumbers[name];
  }
  const base = match[1] === "IN" ? realtimeMin : realtimeMax;
  const offset = Number(match[3] ?? 0);
  return match[2] === "MINUS" ? base - offset : base + offset;
}
